// Whether a machine was made of what its pool makes now.

export const OLDER = "older image or settings";
export const OLDER_LONG = "Made of an older image, or with other settings, than new machines. It is replaced once it is free.";

/** `template` is that of the pool; null while it is not known. */
export const isOlder = (machine, template) => Boolean(template && machine.template && machine.template !== template);
