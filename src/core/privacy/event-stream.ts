import { UnreadableBody } from './unreadable-body.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const BYTE_ORDER_MARK = 0xfeff;

/** What OpenAI-style servers send last. */
const DONE = '[DONE]';
/** Fields whose values say how an event is to be taken, not what it says. */
const KEPT_FIELDS = new Set(['', 'event', 'id', 'retry']);

/** A stretch of the stream: the value of one `data` field. */
interface DataLine {
  readonly from: number;
  readonly to: number;
}

/**
 * Hands the data of each event of an event stream to `cover`, which changes it in place, and puts it back.
 * `cover` gets memory of its own where an event's data has several lines, and a view of the stream else.
 * @throws UnreadableBody for a field that event streams do not have
 */
export function coverEvents(stream: Buffer, cover: (data: Buffer) => void): void {
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
  const colon = stream.subarray(from, to).indexOf(COLON);
  const nameEnd = colon < 0 ? to : from + colon;
  const name = stream.toString('latin1', from, Math.min(nameEnd, from + 8));
  if (name === 'data') {
    const value = Math.min(to, nameEnd + 1);
    event.push({ from: stream[value] === SPACE && value < to ? value + 1 : value, to });
  } else if (!KEPT_FIELDS.has(name)) {
    throw new UnreadableBody('bad_event_stream');
  }
}

function coverEvent(stream: Buffer, lines: readonly DataLine[], cover: (data: Buffer) => void): void {
  const [only] = lines;
  if (only === undefined) return;
  const data =
    lines.length === 1
      ? stream.subarray(only.from, only.to)
      : Buffer.from(lines.map(({ from, to }) => stream.toString('latin1', from, to)).join('\n'), 'latin1');
  const text = data.toString('latin1', 0, DONE.length + 1).trim();
  if (text === '' && isBlank(data)) return;
  if (text === DONE && data.length <= DONE.length + 1) return;
  cover(data);
  if (lines.length === 1) return;
  let at = 0;
  for (const { from, to } of lines) {
    data.copy(stream, from, at, at + to - from);
    at += to - from + 1;
  }
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

function isBlank(data: Buffer): boolean {
  return data.toString('latin1').trim() === '';
}
