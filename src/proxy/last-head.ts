import { type Framing, requestFraming } from '../core/http1/framing.ts';
import { scanRequest } from '../core/http1/head-scan.ts';

/** What the head of a request says of its body. */
export interface BodyPlan {
  readonly framing: Framing;
  /** Whether the client asked first (`Expect`). */
  readonly asksFirst: boolean;
}

/** A larger one is read each time, so that what idle connections hold stays small. */
const REMEMBERED_BYTES = 2 * 1024;
const LENGTH_NAME = /content-length/gi;
const LENGTH_FIELD = /\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n/i;
const ZERO = 0x30;
const NINE = 0x39;

/**
 * Reads heads, and remembers the last: those of one client differ in the length of their bodies at most, and to
 * compare takes a tenth of reading.
 */
export class LastHead {
  #head: Buffer | null = null;
  #plan: BodyPlan | null = null;
  /** Where the digits of its Content-Length stand; nowhere where it has none. */
  #from = 0;
  #to = 0;

  /** Null for a head that servers could read in two ways. */
  planOf(head: Buffer): BodyPlan | null {
    if (head.length === this.#head?.length && this.#beginsLike(head, this.#head)) {
      if (this.#from === this.#to) return this.#plan;
      const bytes = numberIn(head, this.#from, this.#to);
      if (bytes !== null) return { framing: { kind: 'length', bytes }, asksFirst: false };
    }
    return this.#read(head);
  }

  /** Whether these bytes are one whole request, its head like the last: they need not be read. */
  isWholeRequest(bytes: Buffer): boolean {
    const last = this.#head;
    const plan = this.#plan;
    if (last === null || plan === null || plan.asksFirst || !this.#beginsLike(bytes, last)) return false;
    if (plan.framing.kind === 'none') return bytes.length === last.length;
    if (this.#from === this.#to) return false;
    const bodyBytes = numberIn(bytes, this.#from, this.#to);
    return bodyBytes !== null && bytes.length === last.length + bodyBytes;
  }

  forget(): void {
    this.#head = null;
    this.#plan = null;
  }

  #beginsLike(bytes: Buffer, last: Buffer): boolean {
    const [from, to, end] = [this.#from, this.#to, last.length];
    if (bytes.length < end) return false;
    return bytes.compare(last, to, end, to, end) === 0 && bytes.compare(last, 0, from, 0, from) === 0;
  }

  #read(head: Buffer): BodyPlan | null {
    const text = head.toString('latin1');
    const scanned = scanRequest(text);
    const framing = scanned === null ? null : requestFraming(scanned);
    if (scanned === null || framing === null) return null;
    const plan = { framing, asksFirst: scanned.fields.expect !== null };
    if (head.length <= REMEMBERED_BYTES) this.#remember(head, text, plan);
    return plan;
  }

  #remember(head: Buffer, text: string, plan: BodyPlan): void {
    this.#head = Buffer.from(head);
    this.#plan = plan;
    this.#from = 0;
    this.#to = 0;
    const field = plan.framing.kind === 'length' && !plan.asksFirst ? LENGTH_FIELD.exec(text) : null;
    const digits = field?.[1];
    // Repeated, as it may be, it has to be the same in each place.
    if (field === null || digits === undefined || text.match(LENGTH_NAME)?.length !== 1) return;
    this.#from = field.index + field[0].indexOf(digits);
    this.#to = this.#from + digits.length;
  }
}

function numberIn(bytes: Buffer, from: number, to: number): number | null {
  let number = 0;
  for (let at = from; at < to; at += 1) {
    const digit = bytes[at] ?? 0;
    if (digit < ZERO || digit > NINE) return null;
    number = number * 10 + digit - ZERO;
  }
  return number;
}
