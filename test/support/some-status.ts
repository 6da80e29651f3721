import type { RecorderStatus } from '../../src/core/accounting.ts';
import { NO_TRAFFIC } from '../../src/proxy/recorder/exchange-monitor.ts';

/** The status of a recorder that saw a thousand bytes in ten turns, with a balanced account. */
export function someStatus(changes: Partial<RecorderStatus> = {}): RecorderStatus {
  return {
    schema: 'reprise-status/1',
    version: '1.2.3',
    mode: 'wire',
    state: 'HEALTHY',
    why: null,
    paused: false,
    draining: false,
    ready: true,
    startedUs: 1_790_000_000_000_000,
    atUs: 1_790_000_060_000_000,
    pairs: [{ listen: '127.0.0.1:8080', target: '127.0.0.1:8000' }],
    routes: [],
    pids: { proxy: 1, recorder: 3 },
    restarts: { recorder: 0 },
    recordingFailures: 0,
    connections: { open: 4, seen: 9, turnedAway: 0, failed: {}, refused: {} },
    probesDropped: 0,
    seen: { bytes: 1_000, turns: 10 },
    recorded: { bytes: 600, turns: 6 },
    lost: { quota: { bytes: 100, turns: 1 } },
    omitted: { sampled_out: { bytes: 200, turns: 2 } },
    pending: { bytes: 100, turns: 1 },
    exchanges: 6,
    bodiesCut: 0,
    queuedBytes: 65_536,
    recorderResidentBytes: null,
    disk: { directory: '/capture', bytes: null, maxBytes: null, freeBytes: null },
    traffic: NO_TRAFFIC,
    recent: [],
    mirror: null,
    ...changes,
  };
}
