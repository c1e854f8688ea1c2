#!/bin/sh
# Writes the secrets of compose.yaml to secrets/: random, readable by their owner only. What exists is kept.
# Usage: deploy/compose-secrets.sh [FOLDER]
set -eu
folder=${1:-secrets}

umask 077
mkdir -p "$folder"
for name in database_password redis_password secret_key proxy_secret oauth2_cookie_secret grafana_password; do
  file=$folder/$name
  if [ -s "$file" ]; then
    echo "$file is kept"
    continue
  fi
  # The cookie secret of OAuth2 Proxy has 32 characters at most.
  case $name in oauth2_cookie_secret) bytes=16 ;; *) bytes=32 ;; esac
  text=$(od -An -N$bytes -tx1 /dev/urandom | tr -d ' \n')
  [ ${#text} -eq $((bytes * 2)) ] || { echo "$0: /dev/urandom cannot be read" >&2; exit 1; }
  # The file appears as a whole, also when the disk is full.
  printf '%s' "$text" >"$file.$$"
  mv "$file.$$" "$file"
  echo "$file is new"
done
