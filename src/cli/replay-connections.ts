import { countOf, formatMs } from '../core/units.ts';
import type { WaitsFor } from '../documents/replay.ts';
import type { ConnectionUse } from '../replay/engine-health.ts';
import type { ReplayOptions } from '../replay/options.ts';
import type { RecordedConnectionUse } from '../replay/recorded-connections.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import type { ConnectionPolicy, SendingOptions } from '../replay/sending-options.ts';

/** Connections as they were opened, beside those that the same requests were recorded on. */
export interface ConnectionsDocument extends ConnectionUse {
  readonly policy: ConnectionPolicy;
  readonly recorded: RecordedConnectionUse;
}

export function connectionsDocument(
  { connections }: Pick<SendingOptions, 'connections'>,
  { health, recordedConnections }: ReplayOutcome,
): ConnectionsDocument {
  return { policy: connections, ...health.connections, recorded: recordedConnections };
}

/** What puts requests of a run off beyond their planned instants; the two go not together. */
export function waitsForOf({
  sessionOrder,
  connections,
}: Pick<ReplayOptions, 'sessionOrder' | 'connections'>): WaitsFor | null {
  if (sessionOrder !== 'open') return 'sessions';
  return connections === 'recorded' ? 'connections' : null;
}

export function connectionLines(
  options: Pick<SendingOptions, 'connections'>,
  outcome: ReplayOutcome,
): string[] {
  const { policy, recorded, ...sent } = connectionsDocument(options, outcome);
  const each = ({ mean, max }: ConnectionUse['requestsPerConnection']) =>
    `${mean.toFixed(1)} requests each, at most ${max}`;
  const addresses = sent.byAddress.map(
    ({ address, connections, requests }) =>
      `  ${address}: ${countOf(requests, 'request')} on ${countOf(connections, 'connection')}`,
  );
  const connect = `set up in ${formatMs(sent.connect.p50Ns / 1e6)} (p99 ${formatMs(sent.connect.p99Ns / 1e6)})`;
  return [
    '',
    `Connections (${policy}): ${sent.opened} opened, ${sent.failed} failed, ${sent.used} used, ${each(sent.requestsPerConnection)}, ${connect}`,
    ...(recorded.connections === 0
      ? []
      : [`  recorded: ${recorded.connections}, ${each(recorded.requestsPerConnection)}`]),
    ...(sent.byAddress.length > 1 ? addresses : []),
  ];
}
