import { once } from 'node:events';
import { get as askHttp, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { samplesOf } from '../support/metrics.ts';
import { RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** As the kubelet asks: by a connection of its own. */
async function liveStatus(port: number): Promise<number | undefined> {
  const request = askHttp({ host: '127.0.0.1', port, path: '/livez', agent: false });
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  answer.resume();
  await once(answer, 'end');
  return answer.statusCode;
}

describe('probes of a recording', () => {
  test('are answered within 200 ms (p99) while a thousand slow connections come again and again', async () => {
    const server = await RawServer.start();
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(server.port, directory, ['--probe-listen', '127.0.0.1:0']);
    const [, port = ''] = await recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const script = new URL('./slow-clients.ts', import.meta.url);
    const slow = new Worker(script, { workerData: { port: Number(port), count: 1_000 } });
    while ((await once(slow, 'message'))[0] < 800);
    const times: number[] = [];
    for (let nth = 0; nth < 300; nth += 1) {
      const beganMs = performance.now();
      expect(await liveStatus(Number(port))).toBe(200);
      times.push(performance.now() - beganMs);
      await sleep(10);
    }
    await slow.terminate();
    times.sort((one, other) => one - other);
    expect(times[Math.floor(times.length * 0.99)]).toBeLessThanOrEqual(200);
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(samplesOf(metrics).get('reprise_probe_connections_dropped_total')).toBeGreaterThanOrEqual(800);
    await recording.stop();
    await server.close();
  });
});
