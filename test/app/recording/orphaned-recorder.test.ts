import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { entryPath } from '../../../src/app/package.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { PIPE_FD } from '../../../src/proxy/control/recorder-supervisor.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { LogBook } from '../../support/log-book.ts';
import { recordingDeps } from '../../support/supervised.ts';
import { tapSide } from '../../support/tap-side.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

it('a recorder whose proxy is killed as it starts keeps what came through its pipe, and says that more may be lost', async () => {
  const directory = join(temporaryDirectory(), 'capture');
  const { recorder: settings } = recordingDeps(1, directory, new LogBook());
  const child = fork(entryPath('recorder'), { stdio: ['ignore', 'ignore', 'ignore', 'ipc', 'pipe'] });
  const exit = once(child, 'exit');
  const counters = new Counters();
  const { link } = tapSide({ clock: systemClock, counters });
  const pipe = child.stdio[PIPE_FD] as Socket;
  link.attach(pipe);
  const tap = link.open();
  tap.client(Buffer.from('GET / HTTP/1.1\r\nHost: h\r\n\r\n'));
  tap.server(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  tap.close('client_end');
  link.queue.flush();
  link.end();
  const life = '01234567';
  const none = { bytes: 0, turns: 0 };
  const longAgoUs = Math.round(systemClock.epochUs()) - 7_200e6;
  const account = { life, startedUs: longAgoUs, atUs: longAgoUs, ended: false };
  const counted = { seen: none, recorded: none, lost: {}, omitted: {}, pending: none, exchanges: 0 };
  child.send({
    type: 'start',
    settings,
    keepsWorkMark: false,
    earlier: null,
    account: { ...account, ...counted },
  });
  // Its start lies unread in the channel when that closes.
  child.disconnect();
  expect((await exit)[0]).toBe(0);
  const { exchanges, losses, killed, recorders } = inspectCapture(directory);
  expect({ exchanges, exact: losses.exact, killed: killed.length }).toEqual({
    exchanges: 1,
    exact: false,
    killed: 1,
  });
  expect(recorders).toMatchObject([{ id: life, end: 'killed', endedAt: expect.any(String) }]);
});
