import { LIMITS } from '../core/limits.ts';
import { decodeHuffman } from './huffman.ts';

/** Fields as names and values in turn. Both are latin1, as they came. */
export type FieldList = readonly string[];

/** The static table (RFC 7541 appendix A), without the empty values. */
const STATIC_FIELDS =
  ':authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|' +
  ':status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate|' +
  'accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|' +
  'content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|' +
  'cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|' +
  'last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|' +
  'server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate';

const STATIC = STATIC_FIELDS.split('|').map((field) => {
  const [name = '', value = ''] = field.split('=');
  return { name, value };
});
const STATIC_NAMES = STATIC.map(({ name }) => name);
const STATIC_VALUES = STATIC.map(({ value }) => value);

/** What each field counts besides its bytes, in a table and in a list. */
const FIELD_BYTES = 32;
/** The size of a table until another one is announced. */
const TABLE_BYTES = 4_096;
/** Answers have two blocks in turn: their head and their trailers. */
const KNOWN_BLOCKS = 2;
const KNOWN_BYTES = 256;

/** A block that did not change the table. It means the same until something does. */
interface KnownBlock {
  readonly block: Buffer;
  readonly changes: number;
  readonly fields: FieldList;
  readonly listBytes: number;
}

/** Larger integers are refused before they could lose bits. */
const LARGEST_SHIFT = 21;

/** Fields that the encoder may name by a number, the newest last. The oldest are dropped. */
class DynamicTable {
  readonly names: string[] = [];
  readonly values: string[] = [];
  #bytes = 0;
  #maxBytes = TABLE_BYTES;
  /** Counts its changes. */
  changes = 0;
  /** Entries at the beginning that are dropped, but still stand in the arrays. */
  #dropped = 0;

  get length(): number {
    return this.names.length - this.#dropped;
  }

  add(name: string, value: string): void {
    this.changes += 1;
    this.#bytes += name.length + value.length + FIELD_BYTES;
    this.names.push(name);
    this.values.push(value);
    this.#shrink();
  }

  resize(maxBytes: number): void {
    this.changes += 1;
    this.#maxBytes = maxBytes;
    this.#shrink();
  }

  /** A field that is larger than the whole table empties it (RFC 7541 section 4.4). */
  #shrink(): void {
    while (this.#bytes > this.#maxBytes) {
      const at = this.#dropped;
      this.#bytes -= this.names[at]!.length + this.values[at]!.length + FIELD_BYTES;
      this.names[at] = '';
      this.values[at] = '';
      this.#dropped += 1;
    }
    if (this.#dropped < 32 || this.#dropped * 2 < this.names.length) return;
    this.names.splice(0, this.#dropped);
    this.values.splice(0, this.#dropped);
    this.#dropped = 0;
  }
}

/**
 * Decodes the header blocks of one direction of a connection, in order (RFC 7541). It reads beside the receiver, so it
 * needs every block from the connection's first byte on. What the receiver would refuse as too large is its own
 * decision; here the bounds of `LIMITS` apply.
 */
export class HpackDecoder {
  readonly #table = new DynamicTable();
  /** The largest table that the receiver of these blocks has allowed so far. */
  #allowedBytes = TABLE_BYTES;
  #bytes: Buffer = NO_BYTES;
  #at = 0;
  #failed = false;
  /** Size of the last list, with what each field counts besides its bytes. */
  listBytes = 0;
  /** The latest blocks, and which of them is replaced next. */
  readonly #known: KnownBlock[] = [];
  #next = 0;

  /**
   * The receiver of these blocks announced this SETTINGS_HEADER_TABLE_SIZE. The sender says in its blocks what it uses
   * of it, so a smaller size needs no action.
   */
  allowTable(bytes: number): void {
    this.#allowedBytes = Math.max(this.#allowedBytes, Math.min(bytes, LIMITS.headerTableBytes));
  }

  /**
   * @param block read only during the call
   * @returns null if it cannot be decoded within the limits. Then no later block can be decoded either. The same list as
   * before for one of the latest blocks: most calls of a connection have equal headers.
   */
  decode(block: Buffer): FieldList | null {
    if (this.#failed) return null;
    const { changes } = this.#table;
    for (const known of this.#known)
      if (known.changes === changes && known.block.equals(block)) {
        this.listBytes = known.listBytes;
        return known.fields;
      }
    const fields: string[] = [];
    this.#bytes = block;
    this.#at = 0;
    this.#failed = !this.#readFields(fields);
    this.#bytes = NO_BYTES;
    if (this.#failed) return null;
    // The same bytes mean something else once they have changed the table.
    if (changes === this.#table.changes && block.length <= KNOWN_BYTES) {
      this.#known[this.#next] = { block: Buffer.from(block), changes, fields, listBytes: this.listBytes };
      this.#next = (this.#next + 1) % KNOWN_BLOCKS;
    }
    return fields;
  }

  #readFields(fields: string[]): boolean {
    const bytes = this.#bytes;
    this.listBytes = 0;
    while (this.#at < bytes.length) {
      const first = bytes[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        if (fields.length > 0 || !this.#resize()) return false;
        continue;
      }
      if (first >= 0x80 ? !this.#readIndexed(fields) : !this.#readLiteral(first, fields)) return false;
      this.listBytes += fields.at(-2)!.length + fields.at(-1)!.length + FIELD_BYTES;
      if (this.listBytes > LIMITS.headerListBytes) return false;
    }
    return true;
  }

  /** A change of the table's size. It may stand only before the first field. */
  #resize(): boolean {
    const maxBytes = this.#readInteger(0x1f);
    if (maxBytes < 0 || maxBytes > this.#allowedBytes) return false;
    this.#table.resize(maxBytes);
    return true;
  }

  #readIndexed(fields: string[]): boolean {
    const index = this.#readInteger(0x7f);
    const name = this.#nameAt(index);
    if (name === undefined) return false;
    fields.push(name, this.#valueAt(index));
    return true;
  }

  #readLiteral(first: number, fields: string[]): boolean {
    const stored = first >= 0x40;
    const index = this.#readInteger(stored ? 0x3f : 0x0f);
    const name = index === 0 ? this.#readString() : this.#nameAt(index);
    if (name === undefined) return false;
    const value = this.#readString();
    if (value === undefined) return false;
    if (stored) this.#table.add(name, value);
    fields.push(name, value);
    return true;
  }

  /** Undefined if there is none. */
  #nameAt(index: number): string | undefined {
    if (index <= STATIC_NAMES.length) return STATIC_NAMES[index - 1];
    return index - STATIC_NAMES.length > this.#table.length
      ? undefined
      : this.#table.names.at(STATIC_NAMES.length - index);
  }

  #valueAt(index: number): string {
    return index <= STATIC_NAMES.length
      ? STATIC_VALUES[index - 1]!
      : this.#table.values.at(STATIC_NAMES.length - index)!;
  }

  /** @returns -1 if it is cut or too large */
  #readInteger(mask: number): number {
    const bytes = this.#bytes;
    let value = bytes[this.#at++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= LARGEST_SHIFT && this.#at < bytes.length; shift += 7) {
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return -1;
  }

  #readString(): string | undefined {
    const bytes = this.#bytes;
    if (this.#at >= bytes.length) return undefined;
    const coded = bytes[this.#at]! >= 0x80;
    const length = this.#readInteger(0x7f);
    const from = this.#at;
    const to = from + length;
    if (length < 0 || to > bytes.length) return undefined;
    this.#at = to;
    if (!coded) return bytes.toString('latin1', from, to);
    const room = decodedRoom(length);
    const decoded = decodeHuffman(bytes, from, to, room);
    return decoded < 0 ? undefined : room.toString('latin1', 0, decoded);
  }
}

const NO_BYTES = Buffer.alloc(0);
/** Reused for short strings. Nothing is decoded while another string is. */
const SHORT_ROOM = Buffer.alloc(8_192);

/** The shortest code has five bits. */
function decodedRoom(codedBytes: number): Buffer {
  const bytes = Math.ceil((codedBytes * 8) / 5);
  return bytes <= SHORT_ROOM.length ? SHORT_ROOM : Buffer.allocUnsafe(bytes);
}
