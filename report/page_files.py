#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files as constant arrays. usage: page_files.py OUT FILE..."""
import os
import sys

with open(sys.argv[1], "w") as out:
    out.write('#include "report/page.h"\n')
    for path in sys.argv[2:]:
        name = "ak__" + os.path.basename(path).replace(".", "_")
        with open(path, "rb") as file:
            data = file.read()
        numbers = ",".join(str(byte) for byte in data)
        out.write(f"const size_t {name}_size = {len(data)};\n")
        out.write(f"const unsigned char {name}[] = {{ {numbers} }};\n")
