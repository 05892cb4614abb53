"""Operators' commands of `zoo`: build, stress, publish. The client finds them as entry points."""
