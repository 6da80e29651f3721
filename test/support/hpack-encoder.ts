export type Field = readonly [name: string, value: string];

const STATIC: readonly Field[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
];

interface EncoderOptions {
  /** The size of the table that the first block announces. */
  readonly tableBytes?: number;
  /** How the next field that is in no table is written: 0 stored, 1 not stored, 2 never to be stored. */
  readonly form?: () => number;
}

/** A plain encoder of header blocks that uses every form of RFC 7541 but Huffman codes, for tests of decoders. */
export class HpackEncoder {
  readonly #form: () => number;
  /** The newest first. */
  #table: Field[] = [];
  #maxBytes = 4_096;
  #sizes: number[] = [];

  constructor({ tableBytes, form = () => 0 }: EncoderOptions = {}) {
    this.#form = form;
    if (tableBytes !== undefined) this.resize(tableBytes);
  }

  /** The next block begins with this size. */
  resize(tableBytes: number): void {
    this.#sizes.push(tableBytes);
    this.#maxBytes = tableBytes;
    this.#evict();
  }

  encode(fields: readonly Field[]): Buffer {
    const parts = this.#sizes.map((size) => integer(0x20, 5, size));
    this.#sizes = [];
    for (const field of fields) parts.push(this.#encoded(field));
    return Buffer.concat(parts);
  }

  #encoded(field: Field): Buffer {
    const [name, value] = field;
    const whole = this.#indexOf((one) => one[0] === name && one[1] === value);
    if (whole > 0) return integer(0x80, 7, whole);
    const form = this.#form();
    const named = this.#indexOf((one) => one[0] === name);
    const head = form === 0 ? integer(0x40, 6, named) : integer(form === 1 ? 0 : 0x10, 4, named);
    const coded = Buffer.concat([head, ...(named > 0 ? [] : [this.#text(name)]), this.#text(value)]);
    if (form === 0) {
      this.#table.unshift(field);
      this.#evict();
    }
    return coded;
  }

  #indexOf(matches: (field: Field) => boolean): number {
    const fixed = STATIC.findIndex(matches);
    if (fixed >= 0) return fixed + 1;
    const at = this.#table.findIndex(matches);
    return at < 0 ? 0 : 62 + at;
  }

  #evict(): void {
    const bytes = () => this.#table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    while (bytes() > this.#maxBytes) this.#table = this.#table.slice(0, -1);
  }

  #text(text: string): Buffer {
    const bytes = Buffer.from(text, 'latin1');
    return Buffer.concat([integer(0, 7, bytes.length), bytes]);
  }
}

function integer(flags: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([flags | value]);
  const bytes = [flags | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
