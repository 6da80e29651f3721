import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type MessagePort, Worker } from 'node:worker_threads';
import type { PageAssets } from '../analysis/render/html.ts';
import { AppError, type ErrorCode } from '../core/errors.ts';

/** The version of this package. `package.json` lies two levels up from both `src/app` and `dist/app`. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

/**
 * Programs that run as a process or a thread of their own. They are in `cli/workers`, because only `cli` prints and
 * exits.
 */
type EntryName =
  | 'recorder'
  | 'sealer'
  | 'pacer'
  | 'sender'
  | 'checker'
  | 'command'
  | 'profiler'
  | 'reporter'
  | 'null-server';

/**
 * The file of a worker in `cli/workers`. It has this file's extension: `.ts` in a checkout, `.js` in an installed
 * package.
 */
export function entryUrl(name: EntryName): URL {
  return new URL(`../cli/workers/${name}${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
}

/** The path of the same file, for `child_process`. */
export function entryPath(name: EntryName): string {
  return fileURLToPath(entryUrl(name));
}

/** The command line that runs this package in a process of its own. */
export const PROGRAM: readonly string[] = [
  process.execPath,
  fileURLToPath(new URL('../../bin/reprise.js', import.meta.url)),
];

/** The final message of a thread that builds one document. */
type Answer<Document> =
  | { readonly kind: 'document'; readonly document: Document }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | null;
    };

/**
 * Heap limits while millions of rows are read. Only a thread can have its own limits. Pages of rows outlive a young
 * space of 8 MB and are copied out of it, which is a third of the time of a profile; of 24 MB, hardly any do.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 24, maxOldGenerationSizeMb: 192 } as const;

/**
 * Builds a document in the named worker thread.
 * @throws AppError if building it throws one
 */
export async function documentFromThread<Document>(entry: EntryName, request: object): Promise<Document> {
  const thread = new Worker(entryUrl(entry), { workerData: request, resourceLimits: HEAP_LIMITS });
  let answer: Answer<Document> | null = null;
  thread.on('message', (message: Answer<Document>) => {
    answer = message;
  });
  // An error that is not an AppError ends the thread and is rethrown unchanged.
  await once(thread, 'exit');
  return documentIn(answer, entry);
}

function documentIn<Document>(answer: Answer<Document> | null, entry: EntryName): Document {
  if (answer === null) throw new AppError('INTERNAL', `the ${entry} ended without an answer`);
  if (answer.kind === 'document') return answer.document;
  throw new AppError(answer.code, answer.message, { hint: answer.hint });
}

/** Runs in the thread: builds the document and posts it, or posts the error. */
export function answerWith(port: MessagePort | null, make: () => object): void {
  if (port === null) throw new Error('a document is made in a worker thread');
  try {
    port.postMessage({ kind: 'document', document: make() } satisfies Answer<object>);
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    const { code, message, hint } = thrown;
    port.postMessage({ kind: 'failed', code, message, hint } satisfies Answer<object>);
  }
}

const BROWSER = new URL('../analysis/render/browser/', import.meta.url);

/**
 * The assets of a page: uPlot, read from the installed package, and the code that uses it. @throws AppError INTERNAL
 */
export function pageAssets(): PageAssets {
  return assetsOf(['chart.js'], ['page.css']);
}

/** The assets of a live page. @throws AppError INTERNAL */
export function livePageAssets(): PageAssets {
  return assetsOf(['chart.js', 'live.js'], ['page.css', 'live.css']);
}

function assetsOf(scripts: readonly string[], styles: readonly string[]): PageAssets {
  const uplot = (file: string) => read(createRequire(import.meta.url).resolve(`uplot/dist/${file}`));
  const own = (file: string) => read(new URL(file, BROWSER));
  return whole({
    script: [uplot('uPlot.iife.min.js'), ...scripts.map(own)].join('\n'),
    style: [uplot('uPlot.min.css'), ...styles.map(own)].join('\n'),
  });
}

function read(file: string | URL): string {
  return readFileSync(file, 'utf8');
}

/** Refuses assets that would end their element, because a page contains them without escaping. */
function whole(assets: PageAssets): PageAssets {
  if (!/<\/(?:script|style)|<!--/i.test(assets.script + assets.style)) return assets;
  throw new AppError('INTERNAL', 'a script or style cannot stand in a page: it would end its own element');
}
