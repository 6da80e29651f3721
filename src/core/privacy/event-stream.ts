import { LIMITS } from '../limits.ts';
import { UnreadableBody } from './unreadable-body.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const BYTE_ORDER_MARK = 0xfeff;

/** What OpenAI-style servers send last. */
const DONE = '[DONE]';
const DONE_BEGINS = 0x5b;
/** With blanks after it. */
const DONE_BYTES = 16;
/** Fields whose values say how an event is to be taken, not what it says. */
const KEPT_FIELDS = new Set(['', 'event', 'id', 'retry']);
const LONGEST_FIELD = 5;

/** Covers JSON in place. */
type CoverText = (text: Buffer, from: number, to: number) => void;

/** A stretch of the stream: the value of one `data` field. */
interface DataLine {
  readonly from: number;
  readonly to: number;
}

/**
 * Hands the data of each event of an event stream to `cover`, which changes it in place: in the stream itself,
 * or, where an event's data has several lines, in a copy that is put back.
 * @throws UnreadableBody for a field that event streams do not have
 */
export function coverEvents(stream: Buffer, cover: CoverText): void {
  let event: DataLine[] = [];
  const finish = () => {
    coverEvent(stream, event, cover);
    event = [];
  };
  for (let at = startOf(stream); at < stream.length; ) {
    const end = lineEnd(stream, at);
    if (end === at) finish();
    else addLine(stream, at, end, event);
    at = stream[end] === CR && stream[end + 1] === LF ? end + 2 : end + 1;
  }
  // What a stream that broke off left unfinished holds text all the same.
  finish();
}

function addLine(stream: Buffer, from: number, to: number, event: DataLine[]): void {
  let nameEnd = from;
  while (nameEnd < to && nameEnd - from <= LONGEST_FIELD && stream[nameEnd] !== COLON) nameEnd += 1;
  const name = stream.toString('latin1', from, nameEnd);
  if (name === 'data') {
    if (event.length >= LIMITS.eventLines) throw new UnreadableBody('bad_event_stream');
    const value = Math.min(to, nameEnd + 1);
    event.push({ from: stream[value] === SPACE && value < to ? value + 1 : value, to });
  } else if (!KEPT_FIELDS.has(name)) {
    throw new UnreadableBody('bad_event_stream');
  }
}

function coverEvent(stream: Buffer, lines: readonly DataLine[], cover: CoverText): void {
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

/** Whether data is blank, or the mark of the stream's end. */
function saysNothing(data: Buffer, from: number, to: number): boolean {
  let start = from;
  while (start < to && (data[start] as number) <= SPACE) start += 1;
  if (start === to) return true;
  if (data[start] !== DONE_BEGINS || to - start > DONE_BYTES) return false;
  return data.toString('latin1', start, to).trimEnd() === DONE;
}

function startOf(stream: Buffer): number {
  return stream.toString('utf8', 0, 3).codePointAt(0) === BYTE_ORDER_MARK ? 3 : 0;
}

function lineEnd(stream: Buffer, from: number): number {
  for (let at = from; at < stream.length; at += 1) {
    if (stream[at] === LF || stream[at] === CR) return at;
  }
  return stream.length;
}
