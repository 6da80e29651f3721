import { describe, expect, it } from 'vitest';
import { RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Asks for little patience: what a dead listener still held is asked again, and not waited for. */
async function status(port: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(500) });
  await response.text();
  return response.status;
}

describe.each([
  ['wire', []],
  ['gateway', ['--mode', 'gateway']],
])('a forwarder of the %s plane whose loop stands still', (_, flags) => {
  it('is killed and replaced within 15 s, and the account stays exact', async () => {
    const upstream = await RawServer.start();
    const common = ['--probe-listen', 'off', '--drain-delay', '0s'];
    const recording = await startRecording(upstream.port, temporaryDirectory(), [...common, ...flags]);
    expect(await status(recording.port)).toBe(200);
    const stalledMs = performance.now();
    process.kill(recording.children().forwarder, 'SIGSTOP');
    await recording.process.waitFor('stderr', /forwarder hangs; killing it/);
    let answered = 0;
    while (answered !== 200) answered = await status(recording.port).catch(() => 0);
    expect(performance.now() - stalledMs).toBeLessThan(15_000);
    const { end } = await recording.stop();
    expect(end).toMatchObject({ pending: { bytes: 0, turns: 0 } });
    await upstream.close();
  });
});
