import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Supervisor } from '../../src/proxy/supervisor.ts';
import { LogBook } from '../support/log-book.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { local } from '../support/wire-stage.ts';

/** Dies at once, and the second time has its capture as soon as it is told to. */
const RECORDER = `
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
const directory = dirname(process.argv[1]);
if (!existsSync(directory + '/once')) {
  writeFileSync(directory + '/once', '');
  process.exit(1);
}
process.on('message', ({ type }) => {
  if (type !== 'start') return;
  process.send({ type: 'ready', directory, maxDiskBytes: null, unsealed: [] });
});
setTimeout(() => writeFileSync(directory + '/again', ''), 200);
`;

/** Cannot listen, and says so when the recorder was started again. */
const FORWARDER = `
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
process.on('message', () => undefined);
setInterval(() => {
  if (!existsSync(dirname(process.argv[1]) + '/again')) return;
  process.send({ type: 'listen-failed', message: 'cannot listen', hint: null });
}, 20);
`;

it('a start that fails late leaves nothing open, though its recorder died and was started again meanwhile', async () => {
  const directory = temporaryDirectory();
  const [recorderEntry, forwarderEntry] = ['recorder.mjs', 'forwarder.mjs'].map((file) =>
    join(directory, file),
  ) as [string, string];
  writeFileSync(recorderEntry, RECORDER);
  writeFileSync(forwarderEntry, FORWARDER);
  const log = new LogBook();
  const supervisor = new Supervisor<null>({
    forwarderEntry,
    recorderEntry,
    forwarder: {
      mode: 'wire',
      pairs: [{ listen: local(), target: local() }],
      reusePort: false,
      maxConnections: 10,
      refused: 'reset',
      tls: null,
      upstreamTls: null,
      acceptProxyProtocol: false,
      sendProxyProtocol: null,
    },
    forwarders: 1,
    recorder: null,
    directory,
    version: '0',
    probeListen: null,
    captureReady: () => undefined,
    estimated: () => undefined,
    sealer: { seal: async () => undefined, stopWithin: () => undefined },
    logger: log,
    clock: systemClock,
  });
  await expect(supervisor.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  expect(log.texts('info')).not.toContain('recorder started');
  expect(existsSync(join(directory, 'control.sock'))).toBe(false);
  expect(supervisor.status().state).not.toBe('HEALTHY');
});
