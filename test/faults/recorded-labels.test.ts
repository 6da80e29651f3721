import { expect, test } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { newCapture } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { askOnce } from '../support/one-request.ts';
import { startRecording } from '../support/recording.ts';

const REQUEST = 'POST /v1/x?id=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n{"id":1}';

test('the builds that served while a capture was recorded are in it, and inspect shows each', async () => {
  const origin = await new NumberedOrigin().listen();
  const directory = newCapture();
  for (const flags of [
    ['--label', 'build=v1', '--label', 'model=m7'],
    ['--label', 'build=v2', '--label', 'model=m7'],
    [],
  ]) {
    const recording = await startRecording(origin.port, directory, flags);
    expect(await askOnce(recording.port, REQUEST)).toContain('200 OK');
    expect((await recording.stop()).status).toBe(0);
  }
  await origin.close();
  const target = `127.0.0.1:${origin.port}`;
  const { stdout: json } = await runCommand(['inspect', directory, '--json']);
  const { origins, exchanges } = JSON.parse(json) as InspectDocument;
  expect(exchanges).toBe(3);
  const labels = origins.map((each) => (each.kind === 'recorded' && each.labels) || {});
  // The environment may add a commit and a branch.
  expect(labels.map(({ build, model }) => [build, model])).toEqual([
    ['v1', 'm7'],
    ['v2', 'm7'],
    [undefined, undefined],
  ]);
  const { stdout } = await runCommand(['inspect', directory]);
  const shown = stdout.split('\n').filter((line) => line.startsWith('source '));
  expect(shown).toEqual([expect.stringContaining(`recorded in front of ${target} (`)]);
  expect(shown[0]).toContain('build v1, model m7); ');
});
