#!/bin/sh
# The version in Cargo.toml.
set -eu
sed -n '/^\[package\]/,/^\[lib\]/s/^version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml"
