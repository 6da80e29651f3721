import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { inputBytes, textBytes } from './input-bytes.ts';
import { InputProblem } from './input-problem.ts';
import { type BodyRequest, parsePayloadLine, withoutPath } from './payload-line.ts';
import { parseRawRequest } from './raw-request.ts';
import { draftRequest, type RequestDraft } from './request-draft.ts';
import { textLines } from './text-lines.ts';

/** One request read, or one file that is none (a licence, a readme) and is passed over by name. */
export type PayloadFileEntry =
  | { readonly draft: RequestDraft; readonly file: string; readonly line: number | null }
  | { readonly skipped: string };

/** Files of a folder that are bodies, by extension; `.gz` after it is unpacked. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.json': 'application/json',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.png': 'image/png',
  '.wav': 'audio/wav',
  '.bin': 'application/octet-stream',
};

/**
 * The requests of a JSONL, or of a folder and the folders in it: `.http` files are raw request messages, files
 * of a known type are bodies of requests to `fallback.path`. The order is that of the lines, or of the names.
 * @throws AppError INPUT_INVALID naming file, line and reason.
 */
export async function* payloadEntries(
  path: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): AsyncGenerator<PayloadFileEntry> {
  if (!(await isFolder(path))) yield* linesOf(path, fallback, signal);
  else for (const name of await filesBelow(path)) yield await fileOf(path, name, fallback, signal);
}

async function* linesOf(
  path: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): AsyncGenerator<PayloadFileEntry> {
  const file = basename(path);
  try {
    for await (const lines of textLines(textBytes(path, signal))) {
      for (const line of lines) {
        yield { draft: parsePayloadLine(line, fallback), file, line: line.number };
      }
    }
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
  }
}

async function fileOf(
  folder: string,
  name: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): Promise<PayloadFileEntry> {
  const extension = extname(name.replace(/\.gz$/i, '')).toLowerCase();
  const contentType = CONTENT_TYPES[extension];
  if (extension !== '.http' && contentType === undefined) return { skipped: name };
  const path = join(folder, name);
  try {
    const bytes = await readWhole(path, signal);
    if (contentType === undefined) return { draft: parseRawRequest(bytes), file: name, line: null };
    if (fallback.path === null) throw withoutPath();
    const headers = [['Content-Type', contentType]] as const;
    return { draft: draftRequest(fallback.method, fallback.path, headers, bytes), file: name, line: null };
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
  }
}

async function readWhole(path: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of inputBytes(path, signal)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > LIMITS.importLineBytes) {
      throw new InputProblem(`the file has more than ${LIMITS.importLineBytes} bytes`);
    }
  }
  return Buffer.concat(chunks);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (thrown) {
    throw new InputProblem(`cannot be read: ${reasonOf(thrown)}`, { cause: thrown }).toAppError(path);
  }
}

/** Paths of the files below a folder, relative to it, in an order that no locale changes. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
