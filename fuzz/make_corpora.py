#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the hand-made seeds of the corpora: python3 fuzz/make_corpora.py. The PyTorch seeds are copies of the small files
of tests/unit/files/pth."""
import json
import os
import shutil
import struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpora")
pth = os.path.join(here, "..", "..", "tests", "unit", "files", "pth")
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I8": 1, "U8": 1}


def write(path, data):
    with open(os.path.join(here, path), "wb") as f:
        f.write(data)


def safetensors(tensors, metadata=None):
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape in tensors:
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(i % 251 for i in range(at))


write("safetensors/empty.safetensors", safetensors([]))
write("safetensors/metadata.safetensors", safetensors([], {"a": "b", "input_mean": "[1, 2, 3]"}))
write("safetensors/types.safetensors", safetensors([(t, t, [2, 3]) for t in SIZES], {"format": "pt"}))
write("safetensors/scalar.safetensors", safetensors([("s", "F32", []), ("none", "F32", [0, 4])]))
good = safetensors([("a", "F32", [4]), ("b", "F16", [2])])
write("safetensors/overlap.safetensors", good.replace(b"[16,20]", b"[12,16]"))
write("safetensors/hole.safetensors", good.replace(b"[16,20]", b"[18,22]") + b"\0\0")
write("safetensors/huge.safetensors", good.replace(b'"shape":[4]', b'"shape":[4611686018427387905]'))
write("safetensors/header.safetensors", struct.pack("<Q", 1 << 62) + good[8:])
for name in ("basic_zip", "basic_legacy", "nested_zip", "nested_legacy", "protocol4_legacy", "deflated_zip", "evil_zip",
             "evil_legacy", "plain_legacy", "little_endian_zip"):
    shutil.copy(os.path.join(pth, name + ".pth"), os.path.join(here, "pth"))
write("pth/pickle", b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s.")
write("model/empty.cozad", safetensors([], {"cozad": "{}"}))
model = {"format_version": "1.0", "method": "simplenet", "backbone": {"name": "resnet18", "sha256": "0" * 64}}
write("model/short.cozad", safetensors([("head.adaptor.weight", "F32", [4, 4])], {"cozad": json.dumps(model)}))
for name, text in {
    "plain.csv": b"path,split,label,mask,category\na.png,train,0,,nut\nb/c.png,test,1,m/c.png,nut\n",
    "quotes.csv": b'\xef\xbb\xbfPath,"label"\r\n"a, ""b"".png",1\r\n\r\n"c\r\nd.png",\r\n',
    "leaves.csv": b"path,mask\na/../../b.png,/etc/passwd\n",
    "twice.csv": b"path,label\na.png,0\n./a.png,1\n",
    "open.csv": b'path\n"a.png\n',
    "rows.jsonl": b'{"path": "a.png", "label": 0}\n\n{"path": "b.png", "mask": ["m/0.png", "m/1.png"], "split": "test"}\n',
    "wrong.jsonl": b'{"path": "../a.png"}\n{"path": 7}\n',
}.items():
    os.makedirs(os.path.join(here, "manifest"), exist_ok=True)
    write("manifest/" + name, text)


def oip(tensor, data=None, **more):
    return json.dumps({"inputs": [{"name": "image", **tensor, **({} if data is None else {"data": data})}], **more}).encode()


def binary(head, rest):
    return b"binary %d\n" % len(head) + head + rest


os.makedirs(os.path.join(here, "server_request"), exist_ok=True)
small = {"shape": [1, 1, 2, 3], "datatype": "UINT8"}
files = {"shape": [2], "datatype": "BYTES"}
form = (b"multipart/form-data; boundary=\"--x\"\n----x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n"
        b"----x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a b.png\"\r\nContent-Type: image/png\r\n\r\n"
        b"\x89PNG\r\n--\r\n----x--\r\n")
for name, data in {
    "flat": b"json\n" + oip(small, [0, 1, 2, 253, 254, 255], id="a"),
    "nested": b"json\n" + oip(small, [[[[0, 1, 2], [3, 4, 5]]]], outputs=[{"name": "map", "parameters": {"binary_data": True}}]),
    "base64": b"json\n" + oip(files, ["YQ==", {"b64": "YWI="}], parameters={"binary_data_output": True}),
    "escaped": b"json\n" + oip(files, ["+/+/", "YQ=="]).replace(b"+/+/", b"\\u002b\\/+/"),
    "huge": b"json\n" + oip({"shape": [4, 1 << 62, 1 << 62, 3], "datatype": "UINT8"}, [1]),
    "open": b"json\n" + oip(small, [0, 1, 2])[:-6],
    "pixels": binary(oip({**small, "parameters": {"binary_data_size": 6}}), bytes(range(6))),
    "files": binary(oip({**files, "parameters": {"binary_data_size": 13}}), b"\3\0\0\0abc\2\0\0\0de"),
    "alone": binary(oip({"shape": [1], "datatype": "BYTES"}), b"\xff\xd8\xff\xe0 picture"),
    "raw": b"binary 0\n\xff\xd8\xff\xe0 picture",
    "short": binary(oip(files), b"\3\0\0\0abc\xff\xff\xff\xffde"),
    "form": form,
    "form_cut": form[:-12],
    "form_no_name": form.replace(b'name="image"; ', b""),
    "form_no_boundary": b"multipart/form-data" + form[form.index(b"\n"):],
}.items():
    write("server_request/" + name, data)
