import { once } from 'node:events';
import { type MessagePort, Worker } from 'node:worker_threads';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { type EntryName, entryUrl } from './workers.ts';

/** What a thread that makes one document says when it is done. */
type Answer<Document> =
  | { readonly kind: 'document'; readonly document: Document }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | null;
    };

/** Only a thread can be held to limits while millions of rows pass through it. */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 192 } as const;

/**
 * Has a document made by the thread of that name.
 * @throws AppError what the making throws
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
