import { AppError } from '../core/errors.ts';
import type { Message } from '../core/exchange.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { modelOfJson } from '../core/payload-facts.ts';
import type { SeededRandom } from '../core/random.ts';
import type { Redaction } from '../core/redaction.ts';
import { type Route, routeOf } from '../core/routes.ts';
import { formatBytes } from '../core/units.ts';
import { payloadEntries } from './payload-files.ts';
import type { BodyRequest } from './payload-line.ts';
import type { RequestDraft } from './request-draft.ts';

/** A request ready to be paired with an arrival. */
export interface PooledRequest extends Route {
  readonly method: string;
  readonly message: Message;
}

export interface PayloadPoolDeps {
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly random: SeededRandom;
}

/** The requests that arrivals are paired with, redacted and hashed once, drawn with replacement by seed. */
export class PayloadPool {
  readonly #requests: readonly PooledRequest[];
  readonly #random: SeededRandom;
  /** Bytes of all bodies together. */
  readonly bodyBytes: number;
  /** Files of a folder that hold no request, by name. */
  readonly skippedFiles: readonly string[];

  constructor(requests: readonly PooledRequest[], random: SeededRandom, skippedFiles: readonly string[]) {
    this.#requests = requests;
    this.#random = random;
    this.bodyBytes = requests.reduce((sum, request) => sum + request.message.body.bytes, 0);
    this.skippedFiles = skippedFiles;
  }

  get size(): number {
    return this.#requests.length;
  }

  /** The next request of the seed's sequence. */
  draw(): PooledRequest {
    return this.#requests[this.#random.below(this.#requests.length)]!;
  }
}

/**
 * Reads a JSONL or a folder of requests into memory.
 * @throws AppError INPUT_INVALID for a malformed payload, none at all, or more than memory should hold.
 */
export async function loadPayloads(
  path: string,
  fallback: BodyRequest,
  deps: PayloadPoolDeps,
  signal: AbortSignal,
): Promise<PayloadPool> {
  const requests: PooledRequest[] = [];
  const skipped: string[] = [];
  let poolBytes = 0;
  for await (const entry of payloadEntries(path, fallback, signal)) {
    signal.throwIfAborted();
    if ('skipped' in entry) {
      skipped.push(entry.skipped);
      continue;
    }
    const { draft, file, line } = entry;
    const place = line === null ? file : `${file}, line ${line}`;
    if (draft.body.length > LIMITS.requestBodyBytes) {
      throw new AppError('INPUT_INVALID', `${place}: the body has ${formatBytes(draft.body.length)}`, {
        hint: `A request body may have ${formatBytes(LIMITS.requestBodyBytes)}.`,
      });
    }
    poolBytes += draft.body.length + draft.head.length;
    if (poolBytes > LIMITS.importPoolBytes) {
      throw new AppError(
        'INPUT_INVALID',
        `${place}: more than ${formatBytes(LIMITS.importPoolBytes)} so far`,
        {
          hint: 'Payloads are drawn from memory: give a sample of them.',
        },
      );
    }
    requests.push(pooled(draft, deps));
  }
  if (requests.length === 0) {
    throw new AppError('INPUT_INVALID', `${path}: holds no request`, {
      hint: 'Give a JSONL of {method, path, headers, body | bodyBase64}, or a folder of .http and .json files.',
    });
  }
  return new PayloadPool(requests, deps.random, skipped);
}

function pooled(draft: RequestDraft, deps: PayloadPoolDeps): PooledRequest {
  const head = deps.redaction.requestHead(draft.head);
  const trailers = draft.trailers === null ? null : deps.redaction.trailers(draft.trailers);
  const { body } = draft;
  const { route, model } = routeOf(draft.method, draft.target, deps.redaction);
  return {
    method: draft.method,
    route,
    model: model ?? modelOfJson(body),
    message: {
      head: head.bytes,
      redacted: [...new Set([...head.names, ...(trailers?.names ?? [])])],
      body: {
        bytes: body.length,
        kept: body,
        truncated: false,
        hash: body.length === 0 ? null : deps.hash.ofBody(body),
      },
      trailers: trailers?.bytes ?? null,
    },
  };
}
