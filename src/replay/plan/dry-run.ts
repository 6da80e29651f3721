import { setImmediate } from 'node:timers/promises';
import type { ExchangePayload, ExchangeRow, Message, Place } from '../../core/exchange.ts';
import { headerValue, parseRequestHead } from '../../core/headers.ts';
import type { ScalingCounts } from '../../documents/replay.ts';
import { PAYLOAD_FINDINGS, type PayloadAudit, type PayloadFinding } from '../../documents/replay-plan.ts';
import { maskedPointers, whyNoBody } from '../check/compared-fields.ts';
import type { RequestBuilder } from '../request/build.ts';
import type { PlayedAs } from '../request/copy-identity.ts';
import { Concurrency } from './concurrency.ts';
import type { LinkCounts } from './links.ts';
import {
  AuditCounter,
  durationNsOf,
  type PlanParts,
  type ReplayAudit,
  ScalingTally,
  type WholePlanListener,
  walkPlan,
} from './plan.ts';
import { playedAs } from './superpose.ts';

/**
 * Requests whose payload is opened: groups of neighbours, spread evenly over the window. Neighbours share a compressed
 * block. Single requests would need eight times the decompression, and a hundred megabytes at once.
 */
const SAMPLE_STRETCHES = 32;
const SAMPLE_STRETCH = 8;

export interface DryRunParts
  extends Pick<
    PlanParts,
    | 'source'
    | 'range'
    | 'scaling'
    | 'openSessions'
    | 'shard'
    | 'maxRequests'
    | 'ceiling'
    | 'durationNs'
    | 'builder'
    | 'links'
  > {
  /** Expected sends of the plan, over which the sample is spread. */
  readonly expected: number;
  /** Whether the capture has only arrivals. Their timing is planned although nothing can be sent. */
  readonly arrivalsOnly: boolean;
}

/** The totals of a plan over all shards, from its rows. */
interface PlanCount {
  /** Exchanges of the replayed windows. */
  readonly recorded: number;
  /** Requests, as if all of them could be built. */
  readonly planned: number;
  /** If the limit on requests ends the plan: the instant of its last request, nanoseconds of the run. Else null. */
  readonly cappedAtNs: number | null;
}

export interface DryRunReport {
  /** The totals of the plan over all shards. */
  readonly whole: PlanCount;
  /** Counts from the facts of every row. */
  readonly audit: ReplayAudit;
  readonly scaling: ScalingCounts;
  /** Planned requests over the limit per second. */
  readonly refusedForRate: number;
  /** Findings from the payloads of a sample. */
  readonly payloads: PayloadAudit;
  /** Connections in use at once if the target is as fast as recorded; null if unknown. */
  readonly connections: number | null;
  /** Null if no request needs a value of an answer. */
  readonly links: LinkCounts | null;
}

/** Sends planned between two turns of the event loop, so that output appears and signals are handled. */
const SENDS_A_TURN = 8_192;

/** Plans a whole window and sends nothing, at constant memory. Only payloads of the sample are opened. */
export async function dryRun(parts: DryRunParts, listener: WholePlanListener): Promise<DryRunReport> {
  const { source, scaling, openSessions } = parts;
  const [audit, tally, concurrency] = [new AuditCounter(), new ScalingTally(), new Concurrency()];
  const auditor = new PayloadAuditor(parts.builder);
  const stride = Math.max(SAMPLE_STRETCH, Math.ceil(parts.expected / SAMPLE_STRETCHES));
  const { links = null } = parts;
  let [recorded, places, planned, refusedForRate, lastNs] = [0, 0, 0, 0, 0];
  let cappedAtNs: number | null = null;
  const tellRecorded = (row: ExchangeRow, own: boolean): void => {
    recorded += 1;
    if (own) listener.addRecorded(row);
  };
  const isFull = (): boolean => {
    if (places === parts.maxRequests) cappedAtNs = lastNs;
    return cappedAtNs !== null;
  };
  for (const { send, own, skipped } of walkPlan({ ...parts, tally, audit }, tellRecorded, isFull)) {
    const { row, intendedOffsetNs } = send;
    if (skipped !== null && !(parts.arrivalsOnly && skipped === 'no_payload')) continue;
    if (places++ % SENDS_A_TURN === 0) await setImmediate();
    lastNs = intendedOffsetNs;
    const admitted = parts.ceiling.admits(intendedOffsetNs);
    if (!own) continue;
    if (skipped === null && planned % stride < SAMPLE_STRETCH) {
      auditor.add(source.payload(row), playedAs(send, scaling), links?.livePlaces(send));
    }
    if (admitted) links?.follow(send, planned, intendedOffsetNs);
    tally.planned(send);
    listener.addPlanned(row, intendedOffsetNs);
    concurrency.add(intendedOffsetNs, durationNsOf(row));
    planned += 1;
    if (!admitted) refusedForRate += 1;
  }
  return {
    whole: { recorded, planned: places, cappedAtNs },
    audit: audit.report(),
    scaling: tally.counts(scaling.forgottenSessions, openSessions?.figures() ?? null),
    refusedForRate,
    payloads: auditor.report(),
    connections: concurrency.max,
    links: links?.waits === true ? links.counts() : null,
  };
}

/** Bytes of text that are searched in one body. */
const MAX_TEXT_BYTES = 256 * 1024;

const PATTERNS: readonly (readonly [PayloadFinding, RegExp])[] = [
  [
    'presigned_url',
    /[?&](X-Amz-Signature|X-Goog-Signature)=|[?&]sig=[^&\s"]*%3D|[?&]Signature=[^\s"]*&?Expires=/i,
  ],
  ['presigned_url', /[?&]Expires=\d+[^\s"]*[?&]Signature=/i],
  ['json_web_token', /\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/],
  [
    'timestamp',
    /"(timestamp|created|created_?at|date|time|iat|exp|nbf|expires?(_?at)?)"\s*:\s*("\d{4}-\d{2}-\d{2}|1\d{9}\b|1\d{12}\b)/i,
  ],
  [
    'server_issued_id',
    /"(previous_response_id|conversation_id|thread_id|assistant_id|file_id|input_file_id|container_id|vector_store_id|batch_id)"\s*:\s*"/,
  ],
];

/** Searches sampled requests for values that will not replay as recorded. */
class PayloadAuditor {
  readonly #builder: RequestBuilder;
  readonly #found = new Map<PayloadFinding, number>();
  readonly #unreplayable = new Map<string, number>();
  #sampled = 0;
  #comparable = 0;

  constructor(builder: RequestBuilder) {
    this.#builder = builder;
  }

  /** @param live places that get values of live answers */
  add(payload: ExchangePayload | null, as: PlayedAs | null = null, live: readonly Place[] = []): void {
    const result = this.#builder.build(payload, as, live);
    if (result.kind === 'no_payload' || payload?.request == null) return;
    this.#sampled += 1;
    if (isComparable(payload.response)) this.#comparable += 1;
    if (result.kind === 'unreplayable') {
      this.#unreplayable.set(result.reason, (this.#unreplayable.get(result.reason) ?? 0) + 1);
      return;
    }
    const findings = findingsOf(payload);
    if (live.length > 0) findings.delete('server_issued_id');
    const { headers, queryKeys, bodyValues } = result.masked;
    if (headers.length + queryKeys.length + bodyValues.length > 0) findings.add('masked');
    for (const finding of findings) this.#found.set(finding, (this.#found.get(finding) ?? 0) + 1);
  }

  report(): PayloadAudit {
    return {
      sampled: this.#sampled,
      comparableAnswers: this.#comparable,
      found: Object.fromEntries(
        PAYLOAD_FINDINGS.map((finding) => [finding, this.#found.get(finding) ?? 0]),
      ) as Record<PayloadFinding, number>,
      unreplayableByReason: Object.fromEntries(this.#unreplayable),
    };
  }
}

function isComparable(response: Message | null): boolean {
  return whyNoBody(response) === null && maskedPointers(response?.redacted ?? []).length === 0;
}

function findingsOf(payload: ExchangePayload): Set<PayloadFinding> {
  const findings = new Set<PayloadFinding>();
  const request = payload.request;
  if (request === null) return findings;
  const head = parseRequestHead(request.head);
  const coding = headerValue(head.headers, 'content-encoding');
  const compressed = coding !== null && coding.toLowerCase() !== 'identity' && request.body.bytes > 0;
  if (compressed) findings.add('compressed_body');
  const kept = compressed ? null : request.body.kept;
  const bodyText = Buffer.from(kept?.subarray(0, MAX_TEXT_BYTES) ?? []).toString('latin1');
  const texts = [head.target, ...head.headers.map(([, value]) => value), bodyText];
  for (const [finding, pattern] of PATTERNS) {
    if (texts.some((text) => pattern.test(text))) findings.add(finding);
  }
  return findings;
}
