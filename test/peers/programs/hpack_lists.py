"""Prints header lists that python-hpack encoded: one connection a line, as the stories of hpack-test-case."""
import json
import random
import sys

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple

seed, connections, lists = (int(argument) for argument in sys.argv[1:])
drawn = random.Random(seed)
names = [b":path", b"te", b"content-type", b"grpc-timeout", b"x-request-id"]


def value():
    if drawn.random() < 0.5:
        return b"value-%d" % drawn.randrange(20)
    return bytes(drawn.randrange(256) for _ in range(drawn.randrange(80)))


def field():
    name = drawn.choice(names) if drawn.random() < 0.7 else b"x-%d" % drawn.randrange(80)
    kind = NeverIndexedHeaderTuple if drawn.random() < 0.1 else HeaderTuple
    return kind(name, value())


for _ in range(connections):
    encoder = Encoder()
    cases = []
    for _ in range(lists):
        if drawn.random() < 0.1:
            encoder.header_table_size = drawn.choice([0, 60, 500, 4096, 9000, 65536])
        fields = [field() for _ in range(drawn.randrange(12))]
        wire = encoder.encode(fields, huffman=drawn.random() < 0.7)
        cases.append({"wire": wire.hex(), "fields": [part.hex() for pair in fields for part in pair]})
    print(json.dumps(cases))
