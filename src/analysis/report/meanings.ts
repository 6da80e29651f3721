import type { SendError } from '../../core/run.ts';

/** Why recorded exchanges were not sent, and what to do about it. */
const SKIPPED: Readonly<Record<string, string>> = {
  filtered: 'left out by the filters that were asked for',
  incomplete_request: 'the client left before its request was whole; nothing that could be sent again',
  truncated_request: 'the recorder kept only a part of the body; raise its cap on request bodies',
  no_payload: 'the recording holds no request; record with bodies, or give the import payloads',
  unreplayable: 'the client library cannot send it unaltered; see the reasons beside it',
};

/** Why sends have no complete answer, and where to look. */
const ERRORS: Readonly<Record<SendError, string>> = {
  connect_refused: 'nobody listened, or the accept queue was full: see whether the target restarted',
  connect_timeout: 'the target did not accept in time: its accept queue or a firewall',
  connect_failed: 'no connection came about: name, route or TLS',
  reset_on_reuse: 'the target closed an idle connection as we used it: its keep-alive is shorter than ours',
  reset: 'the target or something between cut the connection: a crash, an eviction, a proxy',
  closed_early: 'the connection ended before the answer was whole',
  first_byte_timeout: 'no answer began in time: a queue that grows, or a stuck worker',
  idle_timeout: 'an answer began and then fell silent',
  total_timeout: 'the answer took longer than it was waited for in all',
  protocol: 'the answer was no valid HTTP/1.1',
  broken_stream: 'a stream ended without its end mark: the generation was cut off',
  stopped: 'ended by us when the run was stopped; not the target’s failure',
  other: 'none of the known kinds; see its row',
};

const SERVER_ERROR = 'the target answered that it failed: see its log at these times';

export function skippedMeaning(reason: string): string {
  return (Object.hasOwn(SKIPPED, reason) ? SKIPPED[reason] : null) ?? 'not sent; see the replay’s audit';
}

/** @param kind of an error, or `status_503` */
export function errorMeaning(kind: string): string {
  if (kind.startsWith('status_')) return SERVER_ERROR;
  return (Object.hasOwn(ERRORS, kind) ? ERRORS[kind as SendError] : null) ?? ERRORS.other;
}
