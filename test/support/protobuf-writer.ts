/** Writes protobuf for tests; shares no code with the reader. */
type Part = Uint8Array | readonly number[];

export function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

export function joined(...parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => Uint8Array.from(part)));
}

function tag(number: number, wire: number): number[] {
  return varint(BigInt(number) * 8n + BigInt(wire));
}

export const int = (number: number, value: number | bigint): Buffer => joined(tag(number, 0), varint(value));

export const bytesField = (number: number, value: Part): Buffer =>
  joined(tag(number, 2), varint(value.length), value);

export const text = (number: number, value: string): Buffer => bytesField(number, Buffer.from(value, 'utf8'));

export const message = (number: number, ...fields: readonly Part[]): Buffer =>
  bytesField(number, joined(...fields));

export const packed = (number: number, values: readonly (number | bigint)[]): Buffer =>
  bytesField(number, values.flatMap(varint));

export function float(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return joined(tag(number, 5), bytes);
}

export function double(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return joined(tag(number, 1), bytes);
}

/** A map's entry with a text as key. */
export const entry = (number: number, key: string, ...value: readonly Part[]): Buffer =>
  message(number, text(1, key), message(2, ...value));

/** Triton's form of a raw BYTES tensor: each element after its length. */
export function rawBytes(...elements: readonly string[]): Buffer {
  return joined(
    ...elements.flatMap((element) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(element));
      return [length, Buffer.from(element)];
    }),
  );
}
