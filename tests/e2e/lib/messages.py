# SPDX-License-Identifier: Apache-2.0
"""Protobuf messages by their names, from the project's own proto/*.proto.

protoc compiles the files to their descriptors; a message is a dict here. What a dict lacks has its
default, as in proto3: "", 0, False, b"", [], {}, and None for a message.
"""

import functools
import glob
import os
import subprocess
import tempfile

from lib import ttrpc

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

REPEATED = 3
INT64, INT32, BOOL, STRING, MESSAGE, BYTES, ENUM = 3, 5, 8, 9, 11, 12, 14
SCALARS = {INT64, 4, INT32, BOOL, STRING, BYTES, 13, ENUM}  # 4, 13: unsigned


def text(record, field):
    return record[field][0].decode()


class Field:
    def __init__(self, record):
        self.name, self.number, self.type = text(record, 1), record[3][0], record[5][0]
        self.repeated = record[4][0] == REPEATED
        self.of = text(record, 6).removeprefix(".") if 6 in record else ""


class Schema:
    def __init__(self, descriptors):
        self.messages, self.maps, self.methods = {}, set(), {}
        for data in ttrpc.decode(descriptors)[1]:
            file = ttrpc.decode(data)
            package = text(file, 2)
            for message in file.get(4, []):
                self._message(package, ttrpc.decode(message))
            for data in file.get(6, []):
                service = ttrpc.decode(data)
                for method in map(ttrpc.decode, service[2]):
                    self.methods[package + "." + text(service, 1), text(method, 1)] = tuple(
                        text(method, i).removeprefix(".") for i in (2, 3))

    def _message(self, scope, record):
        name = scope + "." + text(record, 1)
        self.messages[name] = {f.number: f for f in
                               (Field(ttrpc.decode(data)) for data in record.get(2, []))}
        if 7 in record and 7 in ttrpc.decode(record[7][0]):
            self.maps.add(name)
        for nested in record.get(3, []):
            self._message(name, ttrpc.decode(nested))

    # -- writing

    def pack(self, name, value):
        fields = {f.name: f for f in self.messages[name].values()}
        unknown = set(value) - set(fields)
        if unknown:
            raise ValueError("%s has no %s" % (name, ", ".join(sorted(unknown))))
        out = b""
        for field in sorted(fields.values(), key=lambda f: f.number):
            for item in self._items(field, value.get(field.name)):
                out += ttrpc.encode((field.number, self._wire(field, item)))
        return out

    def _items(self, field, value):
        if value is None:
            return []
        if field.of in self.maps:
            return [{"key": k, "value": v} for k, v in value.items()]
        if field.repeated:
            return value
        return [value] if value or field.type == MESSAGE else []

    def _wire(self, field, value):
        if field.type not in SCALARS | {MESSAGE}:
            raise ValueError("%s: fields of type %d are not written" % (field.name, field.type))
        return self.pack(field.of, value) if field.type == MESSAGE else value

    # -- reading

    def unpack(self, name, data):
        """Raises ValueError where a protobuf library would."""
        value = {f.name: self._default(f) for f in self.messages[name].values()}
        for number, item in ttrpc.records(data):
            field = self.messages[name].get(number)
            if field:
                self._take(field, value, item)
        return value

    def _default(self, field):
        if field.of in self.maps:
            return {}
        if field.repeated:
            return []
        return {STRING: "", BYTES: b"", BOOL: False, MESSAGE: None}.get(field.type, 0)

    def _take(self, field, value, item):
        if isinstance(item, int) != (field.type not in (STRING, BYTES, MESSAGE)):
            if field.repeated and isinstance(item, bytes):
                for one in ttrpc.varints(item):  # packed
                    self._take(field, value, one)
            return  # another wire type than the schema's: an unknown field
        if field.type == MESSAGE:
            item = self.unpack(field.of, item)
        elif field.type == STRING:
            item = item.decode()
        elif field.type == BOOL:
            item = bool(item)
        elif field.type in (INT64, INT32, ENUM):
            bits = 64 if field.type == INT64 else 32
            item &= (1 << bits) - 1
            item -= (item >> (bits - 1)) << bits
        if field.of in self.maps:
            value[field.name][item["key"]] = item["value"]
        elif field.repeated:
            value[field.name].append(item)
        else:
            value[field.name] = item


@functools.cache
def schema():
    files = sorted(glob.glob(os.path.join(TOP, "proto", "*.proto")))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "--proto_path=" + os.path.join(TOP, "proto"),
                        "--descriptor_set_out=" + out.name, "--include_imports", *files],
                       check=True)
        return Schema(out.read())


def pack(name, **value):
    return schema().pack(name, value)


def unpack(name, data):
    return schema().unpack(name, data)


def any_of(name, data):
    return {"type_url": name, "value": data}


def types_of(service, method):
    """(the request's message, the response's)"""
    return schema().methods[service, method]
