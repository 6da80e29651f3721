import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EndEvent, ReplayEvent, SecondEvent } from '../../src/documents/events.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const WINDOW = ['--window', '2026-11-24T15:00:00.300Z..'];

describe('reprise replay --ndjson --warmup --retain-runs', () => {
  it('tells of a run as it goes on, with the warm-up in no figure, and keeps as many runs as asked', async () => {
    const server = await serverOf();
    const runs = temporaryDirectory();
    const capture = captureOf(requestsOf(100, 10_000));
    const replay = async (name: string) =>
      await runReprise([
        ...['replay', capture, '--target', server.url, '--out', join(runs, name)],
        ...['--ndjson', '--warmup', '200ms', '--retain-runs', '1', ...WINDOW],
      ]);
    await replay('older');
    const { status, stdout } = await replay('newer');
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as ReplayEvent);
    expect(events[0]).toMatchObject({ event: 'start', schemaVersion: 1, plannedS: 0.69, warmupS: 0.2 });
    const end = events.at(-1) as EndEvent;
    expect(end).toMatchObject({
      event: 'end',
      planned: 70,
      sent: 70,
      completed: 70,
      verdict: null,
      exitCode: status,
    });
    const seconds = events.filter((each): each is SecondEvent => each.event === 'second');
    const total = (name: 'offered' | 'achieved') => seconds.reduce((sum, each) => sum + each[name], 0);
    expect([total('offered'), total('achieved')]).toEqual([90, 90]);
    expect(seconds.at(-1)?.inFlight).toBe(0);

    expect(readdirSync(runs)).toEqual(['newer']);
    const reader = new RunReader(join(runs, 'newer'));
    const sends = [...reader.sends()];
    expect(sends.map(({ exchangeId, warmup }) => [exchangeId, warmup])).toEqual(
      Array.from({ length: 90 }, (_, at) => [at + 11, at < 20]),
    );
    expect(sends[20]?.intendedOffsetNs).toBe(200e6);
    expect(reader.summary).toMatchObject({
      recorded: 70,
      planned: 70,
      warmup: { askedS: 0.2, playedS: 0.2, planned: 20, sent: 20, completed: 20 },
      fidelity: { planned: { count: 70 }, sent: { count: 70 }, unordered: 0 },
    });
    reader.close();
  });
});
