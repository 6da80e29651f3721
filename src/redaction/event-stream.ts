import { ASCII, byteSet, seek } from '../core/ascii.ts';
import { UnreadableBody } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';

const { LF, CR, SPACE, OPEN_BRACKET } = ASCII;
const LINE_END = byteSet('\r\n');
const NAME_END = byteSet(':');
const BYTE_ORDER_MARK = 0xfeff;

/** The last event of OpenAI-style servers. */
const DONE = '[DONE]';
/** Its length, with trailing blanks. */
const DONE_BYTES = 16;
/** An event's kind, number or identifier, which is safe to keep. */
const LABEL = /^[A-Za-z0-9_.:/-]{0,64}$/;
/** Values to keep in fields besides `data`, by field name. Comments have the empty name. */
const KEPT: ReadonlyMap<string, RegExp> = new Map([
  ['', /^[A-Za-z_-]{0,16}$/],
  ['event', LABEL],
  ['id', LABEL],
  ['retry', /^[0-9]{0,16}$/],
]);
const LABEL_BYTES = 64;
const LONGEST_FIELD = 5;

/** Masks JSON in place. */
type CoverText = (text: Buffer, from: number, to: number) => void;

/** Masks another field's value in place. */
type CoverField = (stream: Buffer, from: number, to: number, name: string) => void;

/** The position of one field's value. */
interface Value {
  readonly from: number;
  readonly to: number;
}

/**
 * Passes the data of each event to `cover`, which changes it in place. Data with several lines is masked in a
 * copy that is written back. Other fields and comments go to `coverField` unless they are only a label.
 * @throws UnreadableBody for an unknown field
 */
export function coverEvents(stream: Buffer, cover: CoverText, coverField: CoverField): void {
  let event: Value[] = [];
  const finish = () => {
    coverEvent(stream, event, cover);
    event = [];
  };
  for (let at = startOf(stream); at < stream.length; ) {
    const end = seek(stream, at, stream.length, LINE_END);
    if (end === at) finish();
    else addLine(stream, at, end, event, coverField);
    at = stream[end] === CR && stream[end + 1] === LF ? end + 2 : end + 1;
  }
  // The unfinished last event of a broken stream also holds text.
  finish();
}

function addLine(stream: Buffer, from: number, to: number, event: Value[], coverField: CoverField): void {
  const nameEnd = seek(stream, from, Math.min(to, from + LONGEST_FIELD + 1), NAME_END);
  const name = stream.toString('latin1', from, nameEnd);
  const value = valueAt(stream, nameEnd, to);
  if (name === 'data') {
    if (event.length >= LIMITS.eventLines) throw new UnreadableBody('bad_event_stream');
    event.push(value);
    return;
  }
  const kept = KEPT.get(name);
  if (kept === undefined) throw new UnreadableBody('bad_event_stream');
  const beginning = stream.toString('latin1', value.from, Math.min(value.to, value.from + LABEL_BYTES + 1));
  if (!kept.test(beginning)) coverField(stream, value.from, value.to, name);
}

/** The value after the colon, without one leading space. */
function valueAt(stream: Buffer, colon: number, to: number): Value {
  const value = Math.min(to, colon + 1);
  return { from: stream[value] === SPACE && value < to ? value + 1 : value, to };
}

function coverEvent(stream: Buffer, lines: readonly Value[], cover: CoverText): void {
  const [only] = lines;
  if (only === undefined) return;
  if (lines.length === 1) {
    if (!saysNothing(stream, only.from, only.to)) cover(stream, only.from, only.to);
    return;
  }
  const text = lines.map(({ from, to }) => stream.toString('latin1', from, to)).join('\n');
  const data = Buffer.from(text, 'latin1');
  if (saysNothing(data, 0, data.length)) return;
  cover(data, 0, data.length);
  let at = 0;
  for (const { from, to } of lines) {
    data.copy(stream, from, at, at + to - from);
    at += to - from + 1;
  }
}

/** Whether data is blank or the end marker. */
function saysNothing(data: Buffer, from: number, to: number): boolean {
  let start = from;
  while (start < to && (data[start] as number) <= SPACE) start += 1;
  if (start === to) return true;
  if (data[start] !== OPEN_BRACKET || to - start > DONE_BYTES) return false;
  return data.toString('latin1', start, to).trimEnd() === DONE;
}

function startOf(stream: Buffer): number {
  return stream.toString('utf8', 0, 3).codePointAt(0) === BYTE_ORDER_MARK ? 3 : 0;
}
