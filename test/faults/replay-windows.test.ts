import { describe, expect, it } from 'vitest';
import { replayCommand } from '../../src/cli/commands/replay.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { ReplayPlanDocument } from '../../src/documents/replay-plan.ts';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import { CaptureWriter } from '../../src/storage/capture/writer.ts';
import { accountOf } from '../support/accounts.ts';
import { captureOf, newCapture, writerOptions } from '../support/captures.ts';
import { dryRunPlan } from '../support/dry-run-plan.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, replay, requestsOf, serverOf } from '../support/replaying.ts';

const MINUTE_US = 60_000_000;
const at = (us: number) => new Date((TEST_EPOCH_US + us) / 1e3).toISOString();

/** What a dry run has to say beyond a run's document. */
async function plan(capture: string, args: readonly string[]): Promise<ReplayPlanDocument> {
  // The flags as the command reads them.
  const command = replayCommand().action(() => {});
  await command.parseAsync([capture, '--dry-run', ...args], { from: 'user' });
  const { document } = await dryRunPlan(capture, command.opts());
  return document;
}

/** Two hours: a request a minute, in minute 30 one each second, in minute 90 slow ones. */
function twoHours(): string {
  const minutes = Array.from({ length: 120 }, (_, minute) => {
    const count = minute === 30 ? 60 : 1;
    return Array.from({ length: count }, (_each, second) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + minute * MINUTE_US + second * 1_000_000,
        method: minute % 2 === 0 ? 'POST' : 'GET',
        status: minute % 3 === 0 ? 503 : 200,
        lastByteOffsetUs: minute >= 90 && minute < 110 ? 900_000 : 5_000,
        request: requestMessage({ target: `/v2/models/resnet/infer?minute=${minute}&n=${second}` }),
      }),
    );
  });
  return captureOf(minutes.flat());
}

describe('the window of a replay', () => {
  it('is found where it was busiest, and where it was slowest', async () => {
    const capture = twoHours();
    const peak = await plan(capture, ['--window', 'peak=1m']);
    expect(peak.window.from).toBe('2026-11-24T15:30:00.000000Z');
    expect(peak).toMatchObject({ planned: 60, windowSearch: { kind: 'busiest', exchanges: 60 } });
    const worst = await plan(capture, ['--window', 'worst=20m']);
    expect(worst.window.from >= '2026-11-24T16:29:00').toBe(true);
    expect(worst.windowSearch).toMatchObject({ kind: 'slowest', meanLatencyMs: 900 });
  });

  it('is a day of a zone', async () => {
    const capture = twoHours();
    // 15:00 to 17:00 UTC: midnight in Karachi (+5) lies at 19:00, in Tokyo (+9) at 15:00, in Yangon (+6:30) at 17:30.
    expect(await plan(capture, ['--window', '2026-11-25', '--tz', 'Asia/Tokyo'])).toMatchObject({
      planned: 179,
    });
    expect(await plan(capture, ['--window', '2026-11-24'])).toMatchObject({ planned: 179 });
    const none = await runReprise(['replay', capture, '--dry-run', '--window', '2026-11-25']);
    expect(none).toMatchObject({ status: 2 });
    expect(none.stderr).toContain('lies in the window');
    expect(none.stderr).toContain('2026-11-24T15:00:00');
  });

  it('may be several, played one after the other, so often, and no longer than asked', async () => {
    const capture = twoHours();
    const pairs = [
      '--window',
      `${at(30 * MINUTE_US)}..${at(31 * MINUTE_US)}`,
      '--window',
      `${at(0)}..${at(10 * MINUTE_US)}`,
    ];
    const both = await plan(capture, pairs);
    expect(both.windows.map(({ selected }) => selected)).toEqual([60, 10]);
    expect(both.fidelity.planned).toMatchObject({ count: 70, spanS: 10 * 60 });
    const thrice = await plan(capture, [...pairs, '--loop', '3']);
    expect(thrice).toMatchObject({ planned: 210, passes: 3 });
    expect(thrice.fidelity.planned.spanS).toBe(3 * 11 * 60 - 60);
    expect(thrice.fidelity.duplicateRatio).toBeGreaterThan(0.66);
    const cut = await plan(capture, [...pairs, '--duration', '30m']);
    expect(cut.passes).toBe(3);
    expect(cut.fidelity.planned.spanS).toBeLessThan(30 * 60);
    expect(cut.planned).toBe(70 + 70 + 60 + 7);
  });

  it('is told with what filters left of it, which counts as skipped and lowers no multiplier', async () => {
    const capture = twoHours();
    const filtered = await plan(capture, ['--filter', 'method=GET,status=2xx,path=/v2/models/*/infer']);
    expect(filtered).toMatchObject({ recorded: 179, selected: 40, planned: 40, skipped: { filtered: 139 } });
    expect(filtered.fidelity.unfiltered).toMatchObject({ count: 179 });
    expect((await plan(capture, [])).fidelity.unfiltered).toBeNull();
    const text = await runReprise(['replay', capture, '--dry-run', '--filter', 'method=GET']);
    expect(text.stdout).toContain('only method GET');
    expect(text.stdout).toContain('filtered: 119 of 179');
    expect(text.stdout).toContain('before the filter: 179 exchanges (kept: 60)');
  });
});

describe('coverage', () => {
  it('is that of the window', async () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    for (let minute = 0; minute < 120; minute += 1) {
      writer.append(exchangeOf({ arrivalUs: TEST_EPOCH_US + minute * MINUTE_US }));
    }
    const second = TEST_EPOCH_US + 60 * MINUTE_US;
    const queue_bytes = { exchanges: 60, bytes: 1 };
    writer.setAccount(accountOf({ startedUs: second, atUs: second + 60 * MINUTE_US, lost: { queue_bytes } }));
    writer.close();
    const capture = resolveCaptureDirectory(directory, 'read');
    expect((await plan(capture, [])).coverage).toBeCloseTo(120 / 180, 9);
    expect((await plan(capture, ['--window', `..${at(60 * MINUTE_US)}`])).coverage).toBe(1);
    expect((await plan(capture, ['--window', `${at(60 * MINUTE_US)}..`])).coverage).toBeCloseTo(0.5, 9);
    const half = ['--window', `${at(90 * MINUTE_US)}..${at(100 * MINUTE_US)}`];
    expect((await plan(capture, half)).coverage).toBeCloseTo(0.5, 9);
  });

  it('is that of the recorders that were chosen', async () => {
    const directory = newCapture();
    for (const [number, id] of ['aaaa0001', 'bbbb0002'].entries()) {
      const recorder = { id, host: `pod-${number}`, startedUs: TEST_EPOCH_US };
      const exchanges = Array.from({ length: 10 + number }, (_, n) =>
        exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 1_000 }),
      );
      captureOf(exchanges, { directory, recorder });
    }
    expect(await plan(directory, [])).toMatchObject({ planned: 21, coverage: 1 });
    expect(await plan(directory, ['--filter', 'recorder=bbbb0002'])).toMatchObject({
      planned: 11,
      coverage: 1,
    });
    const other = await runReprise(['replay', directory, '--dry-run', '--filter', 'recorder=cccc0003']);
    expect(other).toMatchObject({ status: 2 });
    expect(other.stderr).toContain('aaaa0001 (pod-0), bbbb0002 (pod-1)');
  });
});

describe('a replay of windows', () => {
  it('sends what was selected, pass by pass, and says so in its summary', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(20));
    const window = ['--window', `${at(0)}..${at(10_000)}`, '--loop', '3', '--filter', 'path=/v2/**'];
    const document = documentOf(
      await replay(capture, server.url, ['--json', ...window]),
    ) as unknown as ReplayPlanDocument;
    expect(document).toMatchObject({
      recorded: 30,
      selected: 30,
      planned: 30,
      sent: 30,
      passes: 3,
      effectiveMultiplier: 1,
    });
    expect(document.windows).toHaveLength(1);
    const sent = server.requests.map(({ target }) => Number(/n=(\d+)/.exec(target)?.[1]));
    expect(sent.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 30 }, (_, each) => Math.floor(each / 3)),
    );
  });

  it('has nothing to send where the filters leave nothing', async () => {
    const server = await serverOf();
    const result = await replay(captureOf(requestsOf(5)), server.url, ['--filter', 'method=PUT']);
    expect(result).toMatchObject({ status: 2 });
    expect(result.stderr).toContain('No exchange');
    expect(server.requests).toHaveLength(0);
    const dry = await runReprise([
      'replay',
      captureOf(requestsOf(5)),
      '--dry-run',
      '--json',
      '--filter=method=PUT',
    ]);
    expect(dry).toMatchObject({ status: 2, stdout: '' });
    expect(dry.stderr).toContain('No exchange of the window has method PUT');
  });
});
