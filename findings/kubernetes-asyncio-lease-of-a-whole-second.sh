#!/usr/bin/env bash
# kubernetes_asyncio (and the official client, in the same words) writes a time with datetime.isoformat(), which leaves the fraction of a
# second out when it is zero. Kubernetes takes the times of a Lease (MicroTime) with exactly six digits of a second only. So one
# renewal in a million is refused, and a Lease that the server holds with .000000 cannot be read and written back as it is.
#
# Seen with: kubernetes_asyncio 36.1.0, CPython 3.11, and k8s.io/apimachinery v0.37.2, whose MicroTime reads what an API server is sent.
#   the server sends 2026-01-01T00:00:00.000000Z, the client writes back 2026-01-01T00:00:00+00:00:
#     parsing time "2026-01-01T00:00:00+00:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "+00:00" as ".000000"
#   the server sends 2026-01-01T00:00:00.000001Z, the client writes back 2026-01-01T00:00:00.000001+00:00: right
# An API server (1.20.2) answers the first with 422. It refuses three and nine digits too. For fields of the type Time, all are taken.
# Expected: either side takes what the other writes; the API's description says "format: date-time", which is RFC 3339.
# If you write Leases, send text: value.isoformat(timespec="microseconds").
set -euo pipefail
command -v go >/dev/null || { echo "Go 1.26 is needed, for the server's side" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubernetes_asyncio==36.1.0
cat >client.py <<'PYTHON'
import json
import sys

from kubernetes_asyncio.client import ApiClient


class Reply:
    def __init__(self, text: str) -> None:
        self.data = text


client = ApiClient.__new__(ApiClient)
for time in ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z"):
    spec = client.deserialize(Reply(json.dumps({"renewTime": time})), "V1LeaseSpec")
    print(json.dumps(client.sanitize_for_serialization(spec)["renewTime"]))
PYTHON
mkdir server
cat >server/go.mod <<'GO'
module server
go 1.26
require k8s.io/apimachinery v0.37.2
GO
cat >server/main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var time metav1.MicroTime
		if err := time.UnmarshalJSON(lines.Bytes()); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("taken:", lines.Text())
		}
	}
}
GO
(cd server && GOFLAGS=-mod=mod go build -o ../read . 2>log || { cat log; exit 1; })
venv/bin/python client.py >written
./read <written | tee seen
cat >expected <<'TEXT'
parsing time "2026-01-01T00:00:00+00:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "+00:00" as ".000000"
taken: "2026-01-01T00:00:00.000001+00:00"
TEXT
cmp seen expected || { echo "this has changed"; exit 1; }
echo "as stated"
