"""The tools that a model uses a machine with, over the Model Context Protocol. They are an ordinary client of the service.

`machines`   which machine a call is for: assigned at first use, and kept while it is used
`arguments`  what each tool takes, as it is told to the model
`tools`      what each tool does
`files`      reading and editing files of a worker, in parts
`capped`     head and tail of a long output
`failures`   how a call fails, in the words that a model reads
`server`     the protocol itself, by the official SDK: the only module that imports it
"""
