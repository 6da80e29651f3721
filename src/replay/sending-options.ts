import { AppError, type Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { parseBytes, parseCount, parsePositiveMs, parseTimeLimitMs } from '../core/units.ts';
import { SESSION_ORDERS, type SessionOrder } from './session-order.ts';

/** How requests are sent, as it was asked for. */
export interface RawSendingOptions {
  readonly senders?: string | undefined;
  readonly connections?: string | undefined;
  readonly sessionOrder?: string | undefined;
  readonly maxConnectionAge?: string | undefined;
  readonly maxInFlight?: string | undefined;
  readonly maxInFlightBytes?: string | undefined;
  readonly timeout?: string | undefined;
  readonly connectTimeout?: string | undefined;
  readonly firstByteTimeout?: string | undefined;
  readonly idleTimeout?: string | undefined;
}

export const SENDING_DEFAULTS = Object.freeze({
  senders: '1',
  connections: 'pooled',
  sessionOrder: 'open',
  timeout: '300s',
  /** Longer than any connection takes that is worth sending on. */
  connectTimeout: '10s',
  /** No model is silent for so long between two pieces of an answer. */
  idleTimeout: '60s',
});

export const CONNECTION_POLICIES = ['pooled', 'recorded'] as const;
/** `pooled`: any connection that is free; `recorded`: each request on the connection it was recorded on. */
export type ConnectionPolicy = (typeof CONNECTION_POLICIES)[number];

/** How requests will be sent. */
export interface SendingOptions {
  /** Threads that send. */
  readonly senders: number;
  readonly connections: ConnectionPolicy;
  readonly sessionOrder: SessionOrder;
  /** Null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  /** Over all senders. */
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  /** From the actual send to the last byte. The others are parts of it and never longer. */
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

export function resolveSending(raw: RawSendingOptions, problems: Problems): SendingOptions {
  const time = (text: string, flag: string) => problems.attempt(() => parseTimeLimitMs(text, flag), 1);
  const timeoutMs = time(raw.timeout ?? SENDING_DEFAULTS.timeout, '--timeout');
  const part = (text: string | undefined, otherwise: string, flag: string) =>
    Math.min(timeoutMs, time(text ?? otherwise, flag));
  return {
    senders: problems.attempt(() => parseSenders(raw.senders ?? SENDING_DEFAULTS.senders), 1),
    connections: problems.attempt(
      () => parseConnections(raw.connections ?? SENDING_DEFAULTS.connections),
      'pooled',
    ),
    sessionOrder: problems.attempt(
      () => parseSessionOrder(raw.sessionOrder ?? SENDING_DEFAULTS.sessionOrder),
      'open',
    ),
    maxConnectionAgeMs: problems.optional(raw.maxConnectionAge, (text) =>
      parsePositiveMs(text, '--max-connection-age'),
    ),
    maxInFlight:
      problems.optional(raw.maxInFlight, (text) => parseCount(text, '--max-in-flight')) ?? LIMITS.inFlight,
    maxInFlightBytes:
      problems.optional(raw.maxInFlightBytes, (text) => parseInFlightBytes(text)) ?? LIMITS.inFlightBytes,
    timeoutMs,
    connectTimeoutMs: part(raw.connectTimeout, SENDING_DEFAULTS.connectTimeout, '--connect-timeout'),
    // A model may think for as long as the whole request may take.
    firstByteTimeoutMs:
      raw.firstByteTimeout === undefined
        ? timeoutMs
        : part(raw.firstByteTimeout, raw.firstByteTimeout, '--first-byte-timeout'),
    idleTimeoutMs: part(raw.idleTimeout, SENDING_DEFAULTS.idleTimeout, '--idle-timeout'),
  };
}

function parseSenders(text: string): number {
  const senders = parseCount(text, '--senders');
  if (senders <= LIMITS.senders) return senders;
  throw new AppError('OPTION_INVALID', `--senders: ${senders} is more than ${LIMITS.senders}`, {
    hint: 'One sender is enough for some thousand requests a second; each takes a processor of its own.',
  });
}

function parseConnections(text: string): ConnectionPolicy {
  const policy = CONNECTION_POLICIES.find((known) => known === text);
  if (policy !== undefined) return policy;
  throw new AppError(
    'OPTION_INVALID',
    `--connections: ${JSON.stringify(text)} is neither ${CONNECTION_POLICIES.join(' nor ')}`,
  );
}

function parseSessionOrder(text: string): SessionOrder {
  const order = SESSION_ORDERS.find((known) => known === text);
  if (order !== undefined) return order;
  throw new AppError(
    'OPTION_INVALID',
    `--session-order: ${JSON.stringify(text)} is neither ${SESSION_ORDERS.join(' nor ')}`,
  );
}

function parseInFlightBytes(text: string): number {
  const bytes = parseBytes(text, '--max-in-flight-bytes');
  if (bytes >= LEAST_IN_FLIGHT_BYTES && bytes <= MOST_IN_FLIGHT_BYTES) return bytes;
  throw new AppError('OPTION_INVALID', `--max-in-flight-bytes: ${text} is not between 1MiB and 1TiB`);
}

const LEAST_IN_FLIGHT_BYTES = 2 ** 20;
/** They are counted in 32 bits of KiB. */
const MOST_IN_FLIGHT_BYTES = 2 ** 40;
