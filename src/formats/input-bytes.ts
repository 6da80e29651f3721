import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { reasonOf } from '../core/errors.ts';
import { InputProblem, NOTHING_IN_IT } from './input-problem.ts';
import { inputStream } from './input-stream.ts';

const UTF8_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
/** Bytes looked at before anything is decided: the longest mark or magic, and then some. */
const LOOK_AHEAD_BYTES = 4;

/**
 * The bytes of a file, unpacked when it is gzip (told by its first bytes, not by its name). Pipes work too:
 * nothing is read twice.
 * @throws InputProblem when the file cannot be read, or the gzip stream is damaged or cut short.
 */
export async function* inputBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { head, rest } = await splitHead(fileBytes(path, signal));
  if (!head.subarray(0, 2).equals(GZIP_MAGIC)) yield* joined(head, rest);
  else yield* unpacked(joined(head, rest), signal);
}

/**
 * The bytes of a text file, without the byte order mark that some spreadsheets put first.
 * @throws InputProblem when the file is empty or is UTF-16.
 */
export async function* textBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { head, rest } = await splitHead(inputBytes(path, signal));
  if (head.length === 0) throw new InputProblem('the file is empty', { hint: NOTHING_IN_IT });
  const mark = head.subarray(0, 2).toString('hex');
  if (mark === 'fffe' || mark === 'feff') {
    throw new InputProblem('the text is UTF-16', { hint: 'Convert it to UTF-8, e.g. with iconv.' });
  }
  yield* joined(head.subarray(0, 3).equals(UTF8_MARK) ? head.subarray(3) : head, rest);
}

async function* fileBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* (await inputStream(path, signal)) as AsyncIterable<Buffer>;
  } catch (thrown) {
    signal.throwIfAborted();
    throw new InputProblem(`cannot be read: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

async function* unpacked(source: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: 64 * 1024 });
  const fed = pipeline(Readable.from(source), gunzip).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  try {
    yield* gunzip as AsyncIterable<Buffer>;
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof InputProblem) throw thrown;
    const cut = (thrown as NodeJS.ErrnoException).code === 'Z_BUF_ERROR';
    throw new InputProblem(cut ? 'the gzip data end too early' : `not sound gzip: ${reasonOf(thrown)}`, {
      hint: cut ? 'The file was cut short: fetch or copy it again.' : 'Check the file with gzip -t.',
      cause: thrown,
    });
  } finally {
    gunzip.destroy();
    await fed;
  }
}

/** The first bytes of a source apart from the others, however it cuts its chunks. */
async function splitHead(
  source: AsyncGenerator<Buffer>,
): Promise<{ head: Buffer; rest: AsyncGenerator<Buffer> }> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < LOOK_AHEAD_BYTES) {
    const next = await source.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return { head, rest: source };
}

async function* joined(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* rest;
}
