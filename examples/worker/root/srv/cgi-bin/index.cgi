#!/bin/sh
# httpd calls this for a folder without an index.html.
text() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }
link() { sed 's/%/%25/g; s/#/%23/g; s/?/%3F/g' | text; }

folder=$(httpd -d "${REQUEST_URI%%\?*}")
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
title=$(printf '%s on %s' "$folder" "$(hostname)" | text)
printf '<!doctype html>\n<meta charset="utf-8">\n<title>%s</title>\n<h1>%s</h1>\n<ul>\n' "$title" "$title"
case $folder in
  *..* | /cgi-bin/*) ;;
  *)
    echo '<li><a href="../">../</a></li>'
    cd "$site$folder" && for name in *; do
      [ -d "$name" ] && name=$name/
      [ -e "$name" ] && printf '<li><a href="./%s">%s</a></li>\n' "$(printf %s "$name" | link)" "$(printf %s "$name" | text)"
    done
    ;;
esac
echo '</ul>'
