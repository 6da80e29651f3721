import { describe, expect, it } from 'vitest';
import { RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Silent for 10 s it is killed; it is looked at every second, and a look that comes 2 s late starts anew. */
const SILENT_MS = { least: 10_000, below: 12_000 };
const BEAT_MS = 1_500;
/** From its being killed to an answer. */
const REPLACED_MS = 5_000;
/** Of one that asks again: what a dead listener still held is not waited for. */
const PATIENCE_MS = 500;

async function status(port: number, signal: AbortSignal | null = null): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { signal });
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
    const stoppedMs = performance.now();
    process.kill(recording.children().forwarder, 'SIGSTOP');
    const hangs = /"silentMs":(\d+),"message":"forwarder hangs; killing it"/;
    const [, silentMs] = await recording.process.waitFor('stderr', hangs);
    const killedMs = performance.now();
    // A beat may have come just before, and the word of it may come late.
    expect(killedMs - stoppedMs).toBeGreaterThan(SILENT_MS.least - BEAT_MS);
    expect(killedMs - stoppedMs).toBeLessThan(30_000);
    // How long it was silent by the product's own word: what comes on top of it is the machine's.
    expect(Number(silentMs)).toBeGreaterThanOrEqual(SILENT_MS.least);
    expect(Number(silentMs)).toBeLessThan(SILENT_MS.below);
    const again = () => status(recording.port, AbortSignal.timeout(PATIENCE_MS)).catch(() => 0);
    let answered = 0;
    while (answered !== 200) answered = await again();
    const replacedMs = performance.now() - killedMs;
    expect(replacedMs).toBeLessThan(REPLACED_MS);
    expect(Number(silentMs) + replacedMs).toBeLessThan(15_000);
    const { end } = await recording.stop();
    expect(end).toMatchObject({ pending: { bytes: 0, turns: 0 } });
    await upstream.close();
  });
});
