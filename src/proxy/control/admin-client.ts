import { request } from 'node:http';
import { AppError } from '../../core/errors.ts';
import { withSocketPath } from './admin-server.ts';

export type ControlPath = '/status' | '/drain' | '/pause' | '/resume';

/** A longer answer does not come from one of our recordings. */
const ANSWER_BYTES = 4 * 1024 * 1024;
/** A pause waits for the last commit and the end of the segment. */
export const PATIENCE_MS = 30_000;

/**
 * Sends a request to the recording that writes a capture.
 * @param directory the capture itself
 * @param patienceMs how long its answer may take
 * @returns its answer, parsed
 * @throws AppError RECORDER_UNREACHABLE if none answers in that time, or if it refuses because it is ending
 */
export async function controlRequest<Result>(
  directory: string,
  method: 'GET' | 'POST',
  path: ControlPath,
  patienceMs = PATIENCE_MS,
): Promise<Result> {
  const { status, body } = await withSocketPath(directory, (socketPath) =>
    exchange({ socketPath, method, path }, patienceMs),
  ).catch((error: NodeJS.ErrnoException) => {
    throw unreachable(directory, error);
  });
  if (status === 409) throw refused(directory, body);
  if (status !== 200)
    throw unreachable(directory, new Error(`it answered with ${status}: ${body.slice(0, 200)}`));
  return JSON.parse(body) as Result;
}

function exchange(
  question: { readonly socketPath: string; readonly method: string; readonly path: string },
  patienceMs: number,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...question, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES) asked.destroy(new Error('its answer is too long'));
        else chunks.push(chunk);
      });
      answer.on('error', reject);
      answer.on('end', () => {
        resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
    // The limit covers the whole answer, so a slow trickle fails too.
    const timer = setTimeout(() => asked.destroy(new Error('it does not answer')), patienceMs);
    asked.on('close', () => clearTimeout(timer));
    asked.on('error', reject);
    asked.end();
  });
}

/** The recording answers, but refuses the request and gives the reason. */
function refused(directory: string, body: string): AppError {
  const { error } = JSON.parse(body) as { error: string };
  return new AppError('RECORDER_UNREACHABLE', `the recording of ${directory} refuses: ${error}`, {
    hint: 'If another recording is starting there, try again after this one has ended; `reprise drain` waits for that.',
  });
}

function unreachable(directory: string, error: NodeJS.ErrnoException): AppError {
  if (error instanceof AppError) return error;
  const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTDIR';
  const reason = absent ? 'none is running there' : error.message;
  return new AppError('RECORDER_UNREACHABLE', `no recording of ${directory} answers: ${reason}`, {
    hint: absent
      ? 'Give the --dir of a running `reprise record`, on the same host and as the same user. One that has ended is read by `reprise inspect`.'
      : 'Ask on the same host and as the user who started it.',
    cause: error,
  });
}
