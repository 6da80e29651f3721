import { request } from 'node:http';
import { AppError } from '../core/errors.ts';
import { withSocketPath } from './control-path.ts';

export type ControlPath = '/status' | '/drain' | '/pause' | '/resume';

/** An answer that is longer is not one of ours. */
const ANSWER_BYTES = 4 * 1024 * 1024;
/** A pause waits for the last commit and the end of the segment. */
const PATIENCE_MS = 30_000;

/**
 * Asks the recording that writes a capture.
 * @param directory the capture itself
 * @returns its answer, parsed
 * @throws AppError RECORDER_UNREACHABLE when none answers there
 */
export async function controlRequest<Result>(
  directory: string,
  method: 'GET' | 'POST',
  path: ControlPath,
): Promise<Result> {
  const { status, body } = await withSocketPath(directory, (socketPath) =>
    exchange(socketPath, method, path),
  ).catch((error: NodeJS.ErrnoException) => {
    throw unreachable(directory, error);
  });
  if (status !== 200)
    throw unreachable(directory, new Error(`it answered with ${status}: ${body.slice(0, 200)}`));
  return JSON.parse(body) as Result;
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false, timeout: PATIENCE_MS }, (answer) => {
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
    asked.on('timeout', () => asked.destroy(new Error('it does not answer')));
    asked.on('error', reject);
    asked.end();
  });
}

function unreachable(directory: string, error: NodeJS.ErrnoException): AppError {
  if (error instanceof AppError) return error;
  const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTDIR';
  const reason = absent ? 'none is running there' : error.message;
  return new AppError('RECORDER_UNREACHABLE', `no recording of ${directory} answers: ${reason}`, {
    hint: 'Name the directory that a running `reprise record --dir` writes, on the host and as the user it runs as.',
    cause: error,
  });
}
