#!/bin/bash
source ./common.sh
. ./more.sh

limit=3

scarce() {
  local name
  # One article a file.
  for name in stock/*; do
    if [ "$(wc -l < "$name")" -lt "$limit" ]; then
      ║echo "$name"
    fi
  done
}

function show {
  echo 'scarce:' && scarce
}
