import type { LossReason } from '../../../src/core/accounting.ts';
import type { Exchange } from '../../../src/core/exchange.ts';
import { parseRequestHead, parseResponseHead } from '../../../src/core/headers.ts';
import { KeyedHash } from '../../../src/core/keyed-hash.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { Routes } from '../../../src/core/routes.ts';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { Linker } from '../../../src/inference/links/linker.ts';
import { callSchema } from '../../../src/inference/protobuf/known-services.ts';
import type { AssemblyContext } from '../../../src/proxy/recorder/exchange-builder.ts';
import { HeadCache } from '../../../src/proxy/recorder/head-cache.ts';
import {
  HttpAssembler,
  type ResyncStart,
  type Settlement,
} from '../../../src/proxy/recorder/http-assembler.ts';
import type { CloseCause } from '../../../src/proxy/tap/frames.ts';
import { BodyRedaction } from '../../../src/redaction/body-redaction.ts';
import { NO_BODY_RULES } from '../../../src/redaction/body-rules.ts';
import { Redaction } from '../../../src/redaction/head-redaction.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { Sampling, SkipRules } from '../../../src/redaction/recording-policy.ts';

export const HASH = new KeyedHash(Buffer.alloc(32, 7));
/** Monotonic zero of the tests is this epoch. */
export const EPOCH_US = 1_700_000_000_000_000;

export function makeContext(changes: Partial<AssemblyContext> = {}): AssemblyContext {
  const redaction = changes.redaction ?? new Redaction();
  return {
    epochUsOf: (ns) => EPOCH_US + Math.round(ns / 1_000),
    policy: {
      bodies: 'all',
      requestBodyBytes: LIMITS.requestBodyBytes,
      responseBodyBytes: LIMITS.responseBodyBytes,
    },
    budget: new AssemblyBudget(LIMITS.assemblyBudgetBytes),
    hash: HASH,
    redaction,
    bodyRedaction: new BodyRedaction(NO_BODY_RULES, HASH),
    keys: new ExchangeKeys({ session: [], client: ['forwarded-for', 'peer'] }, HASH),
    selection: { skip: new SkipRules([]), sampling: new Sampling(1) },
    heads: new HeadCache(new Routes(redaction)),
    calls: callSchema(),
    linker: new Linker([1, 2], () => undefined),
    onFailure: () => undefined,
    ...changes,
  };
}

/**
 * One connection being fed, which checks at every settlement that offsets never go back or ahead of what was
 * fed. Each feed happens a microsecond after the one before it unless `at` says otherwise.
 */
export class Feed {
  readonly context: AssemblyContext;
  readonly settlements: Settlement[] = [];
  readonly assembly: HttpAssembler;
  readonly start: ResyncStart | undefined;
  protocol = 'http/1.1';
  nowNs = 0;
  clientFed: number;
  serverFed: number;
  turnsFed = 0;
  #serverSpoke = true;

  constructor(changes: Partial<AssemblyContext> = {}, resync?: ResyncStart) {
    this.context = makeContext(changes);
    this.start = resync;
    this.clientFed = resync?.clientOffset ?? 0;
    this.serverFed = resync?.serverOffset ?? 0;
    let clientSettled = this.clientFed;
    let serverSettled = this.serverFed;
    this.assembly = new HttpAssembler(this.context, {
      connection: 5,
      peer: '192.0.2.1',
      sink: (settled) => {
        const { clientEndOffset, serverEndOffset } = settled;
        if (clientEndOffset < clientSettled || serverEndOffset < serverSettled)
          throw new Error('settled twice');
        if (clientEndOffset > this.clientFed || serverEndOffset > this.serverFed)
          throw new Error('settled unseen');
        clientSettled = clientEndOffset;
        serverSettled = serverEndOffset;
        this.settlements.push(settled);
      },
      onOpaque: (protocol) => {
        this.protocol = protocol;
      },
      ...(resync === undefined ? {} : { resync }),
    });
  }

  at(ns: number): this {
    this.nowNs = ns;
    return this;
  }

  client(bytes: string | Uint8Array, turnStart = this.#serverSpoke, allAnswered = turnStart): this {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
    this.clientFed += buffer.length;
    if (turnStart) this.turnsFed += 1;
    this.#serverSpoke = false;
    this.assembly.clientBytes(this.nowNs, buffer, turnStart, allAnswered);
    buffer.fill(0xee); // what was kept without being copied would show
    this.nowNs += 1_000;
    return this;
  }

  server(bytes: string | Uint8Array): this {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
    this.serverFed += buffer.length;
    this.#serverSpoke = true;
    this.assembly.serverBytes(this.nowNs, buffer);
    buffer.fill(0xee);
    this.nowNs += 1_000;
    return this;
  }

  gap(reason: LossReason, clientBytes: number, serverBytes: number): this {
    this.clientFed += clientBytes;
    this.serverFed += serverBytes;
    if (serverBytes > 0) this.#serverSpoke = true;
    this.assembly.gap(reason, clientBytes, serverBytes);
    return this;
  }

  clientEnd(): this {
    this.assembly.clientEnd(this.nowNs);
    return this;
  }

  serverEnd(): this {
    this.assembly.serverEnd();
    return this;
  }

  close(how: CloseCause = 'client_end'): this {
    this.assembly.close(this.nowNs, how);
    return this;
  }

  /** Recorded exchanges so far. */
  get exchanges(): Exchange[] {
    return this.settlements.flatMap((settled) => (settled.exchange === null ? [] : [settled.exchange]));
  }

  /** Settlements in one line each: `recorded 200`, `omitted unparsed`, `lost quota`. */
  get fates(): string[] {
    return this.settlements.map((settled) => {
      const { kind, because, exchange } = settled;
      return exchange === null
        ? `${kind} ${because}`
        : `recorded ${exchange.status ?? '-'} ${exchange.outcome}`;
    });
  }

  /** Holds the equation after the close: everything fed is settled, and nothing is held any longer. */
  assertSettled(): void {
    const last = this.settlements.at(-1);
    const clientEnd = last?.clientEndOffset ?? this.start?.clientOffset ?? 0;
    const serverEnd = last?.serverEndOffset ?? this.start?.serverOffset ?? 0;
    const turns = this.settlements.reduce((sum, settled) => sum + settled.turns, 0);
    const told = JSON.stringify({
      fed: [this.clientFed, this.serverFed, this.turnsFed],
      settled: [clientEnd, serverEnd, turns],
    });
    if (clientEnd !== this.clientFed || serverEnd !== this.serverFed)
      throw new Error(`bytes unsettled: ${told}`);
    if (turns !== this.turnsFed) throw new Error(`turns unsettled: ${told}`);
    if (this.context.budget.usedBytes !== 0) throw new Error(`budget held: ${this.context.budget.usedBytes}`);
  }
}

/** What a message says, for comparing. */
export interface ReadMessage {
  readonly start: readonly (string | number)[];
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  readonly trailers: string | null;
}

export function readRequest(exchange: Exchange): ReadMessage {
  const request = exchange.request;
  if (request === null) throw new Error('no request');
  const head = parseRequestHead(request.head);
  return {
    start: [head.method, head.target, head.version],
    headers: head.headers,
    body: latin1(request.body.kept),
    trailers: request.trailers === null ? null : latin1(request.trailers),
  };
}

export function readResponse(exchange: Exchange): ReadMessage {
  const response = exchange.response;
  if (response === null) throw new Error('no response');
  const head = parseResponseHead(response.head);
  return {
    start: [head.version, head.status, head.reason],
    headers: head.headers,
    body: latin1(response.body.kept),
    trailers: response.trailers === null ? null : latin1(response.trailers),
  };
}

export function latin1(bytes: Uint8Array | null): string {
  return bytes === null ? '<none>' : Buffer.from(bytes).toString('latin1');
}
