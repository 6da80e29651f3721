const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const DATA = Buffer.from('data:');

/** Longest event that is put together; of a longer one nothing is told. */
const EVENT_BYTES = 16 * 1024;
/** What is counted for a held piece beside its bytes, so that a stream that drips is not held for nothing. */
const PIECE_BYTES = 128;

/** How an answer comes piece by piece: as server-sent events, or as a JSON document a line. */
export type StreamForm = 'events' | 'lines';

/**
 * The data of a stream's events, out of pieces cut anywhere. Lines of events end in LF, CRLF or CR, those of JSON in
 * LF or CRLF. An event is told when its blank line came, a line when its end did.
 */
export class EventData {
  readonly #form: StreamForm;
  readonly #onData: (data: string) => void;
  readonly #eventBytes: number;
  /** Of the line that is not complete. */
  #partial: Buffer[] = [];
  #data = '';
  #heldBytes = 0;
  /** The event at hand is too long, and passed over to its end. */
  #passing = false;
  #passedOver = 0;
  /** The piece before ended in a CR, which a LF may belong to. */
  #mayEndInLf = false;

  /** @param eventBytes the longest event that is put together; twice as much is held at most */
  constructor(form: StreamForm, onData: (data: string) => void, eventBytes = EVENT_BYTES) {
    this.#form = form;
    this.#onData = onData;
    this.#eventBytes = eventBytes;
  }

  /** Events that were too long to be told. */
  get passedOver(): number {
    return this.#passedOver;
  }

  /** Most bytes that one of these holds. */
  static readonly heldBytes = 2 * EVENT_BYTES;

  /** Takes a piece; what must be kept of it is copied. */
  write(bytes: Buffer): void {
    let at = this.#form === 'events' ? this.#linesToLastCr(bytes) : 0;
    for (let end = bytes.indexOf(LF, at); end >= 0; end = bytes.indexOf(LF, at)) {
      this.#endLine(bytes.subarray(at, end));
      at = end + 1;
    }
    if (at < bytes.length && this.#mayHold(bytes.length - at + PIECE_BYTES))
      this.#partial.push(Buffer.from(bytes.subarray(at)));
  }

  /** The stream ended: a last line needs no line end, while an event without its blank line is none. */
  end(): void {
    if (this.#form === 'lines' && this.#partial.length > 0) this.#line(Buffer.concat(this.#partial));
    this.#partial = [];
  }

  /** Takes lines up to the last that ends in CR or CRLF; most servers send none. Returns where the next begins. */
  #linesToLastCr(bytes: Buffer): number {
    let at = this.#mayEndInLf && bytes[0] === LF ? 1 : 0;
    if (bytes.length > 0) this.#mayEndInLf = false;
    let lf = -1;
    for (let cr = nextOrEnd(bytes, CR, at); cr < bytes.length; ) {
      if (lf < at) lf = nextOrEnd(bytes, LF, at);
      const end = Math.min(cr, lf);
      this.#endLine(bytes.subarray(at, end));
      at = end + 1;
      if (end === lf) continue;
      this.#mayEndInLf = at === bytes.length;
      if (bytes[at] === LF) at += 1;
      cr = nextOrEnd(bytes, CR, at);
    }
    return at;
  }

  #endLine(rest: Buffer): void {
    this.#line(this.#partial.length === 0 ? rest : Buffer.concat([...this.#partial, rest]));
    this.#partial = [];
  }

  #line(whole: Buffer): void {
    const line = whole.at(-1) === CR ? whole.subarray(0, -1) : whole;
    if (this.#form === 'lines') {
      const isLong = line.length > this.#eventBytes;
      if (isLong && !this.#passing) this.#passedOver += 1;
      if (line.length > 0 && !this.#passing && !isLong) this.#onData(line.toString('utf8'));
      this.#forget();
    } else if (line.length === 0) {
      const data = this.#data;
      this.#forget();
      if (data !== '') this.#onData(data);
    } else if (isData(line) && this.#mayHold(line.length)) {
      const from = DATA.length + (line[DATA.length] === SPACE ? 1 : 0);
      const text = line.toString('utf8', from);
      this.#data = this.#data === '' ? text : `${this.#data}\n${text}`;
    }
  }

  #mayHold(bytes: number): boolean {
    this.#heldBytes += bytes;
    if (this.#heldBytes <= 2 * this.#eventBytes) return !this.#passing;
    if (!this.#passing) this.#passedOver += 1;
    this.#passing = true;
    this.#partial = [];
    this.#data = '';
    return false;
  }

  #forget(): void {
    this.#passing = false;
    this.#heldBytes = 0;
    this.#data = '';
  }
}

function nextOrEnd(bytes: Buffer, byte: number, at: number): number {
  const next = bytes.indexOf(byte, at);
  return next < 0 ? bytes.length : next;
}

function isData(line: Buffer): boolean {
  return line[DATA.length - 1] === COLON && line.subarray(0, DATA.length).equals(DATA);
}
