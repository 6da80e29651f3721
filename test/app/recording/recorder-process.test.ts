import { Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { entryUrl } from '../../../src/app/package.ts';
import { Mirror } from '../../../src/app/recording/mirror.ts';
import type { MirrorSettings } from '../../../src/app/recording/mirror-options.ts';
import { RecorderProcess } from '../../../src/app/recording/recorder-process.ts';
import { systemClock } from '../../../src/core/clock.ts';
import type { FromRecorder, RecorderBeat } from '../../../src/proxy/control/messages.ts';
import { LogBook } from '../../support/log-book.ts';
import { recordingDeps } from '../../support/supervised.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

it('a recorder that dies before its second beat does not lose the counts of the mirror before it', async () => {
  const endpoint = { kind: 'tcp', host: '127.0.0.1', port: 1, tls: false } as const;
  const limits = { share: 1, inFlight: 1, timeoutMs: 1_000 };
  const mirror: MirrorSettings = { ...limits, endpoint, headers: [], caPem: null, targets: [], listens: [] };
  const logger = new LogBook();
  const clock = systemClock;
  const before = new Mirror({ settings: mirror, sample: 1, life: 'abc', earlier: null, clock, logger });
  const counted = { ...before.reading(), chosen: 7, answered: 7 };
  before.close();
  const said: FromRecorder[] = [];
  const over = Promise.withResolvers<void>();
  const recorder = new RecorderProcess({
    clock,
    sealerEntry: entryUrl('sealer'),
    pipe: () => new Socket(),
    say: (message) => said.push(message),
    onEnd: over.resolve,
  });
  const none = { bytes: 0, turns: 0 };
  const times = { life: '01234567', startedUs: clock.epochUs(), atUs: clock.epochUs(), ended: false };
  const counts = {
    seen: none,
    recorded: none,
    lost: {},
    omitted: {},
    pending: none,
    exchanges: 0,
    turnsAhead: 0,
  };
  const account = { ...times, ...counts };
  const { recorder: settings } = recordingDeps(1, join(temporaryDirectory(), 'capture'), logger);
  const earlier = { bodiesCut: 0, mirror: counted } as RecorderBeat;
  recorder.hear({ type: 'start', settings: { ...settings, mirror }, keepsWorkMark: false, account, earlier });
  const beats = said.flatMap((message) => (message.type === 'beat' ? [message.beat.mirror] : []));
  recorder.hear({ type: 'stop', account, because: 'crash_gap', ships: false });
  await over.promise;
  expect(beats).toEqual([counted]);
});
