import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe('reprise selftest', () => {
  it('plays what its budget allows, says whether it was kept, and leaves nothing behind', async () => {
    const cwd = temporaryDirectory();
    const flags = ['--seconds', '1', '--budget', '2600ms', '--body-size', '512', '--json'];
    const { status, stdout, stderr } = await runCommand(['selftest', ...flags], { cwd });
    const { steps, highestHonestRate, endedBy, bodyBytes } = JSON.parse(stdout);
    expect(stderr).toBe('');
    expect({ endedBy, bodyBytes }).toEqual({ endedBy: 'budget', bodyBytes: 512 });
    expect(steps).toHaveLength(1);
    const [step] = steps;
    expect(step).toMatchObject({ ratePerSecond: 125, sent: step.planned, failed: 0 });
    expect(step.planned).toBeGreaterThan(80);
    expect(highestHonestRate).toBe(step.honest ? 125 : null);
    expect(step.honest).toBe(step.doubts.length === 0);
    expect(status).toBe(step.honest ? 0 : 4);
    expect(readdirSync(cwd)).toEqual([]);
  });

  it('sends gRPC calls, each of which is answered', async () => {
    const flags = [
      '--protocol',
      'grpc',
      '--seconds',
      '1',
      '--budget',
      '2600ms',
      '--body-size',
      '512',
      '--json',
    ];
    const { stdout } = await runCommand(['selftest', ...flags]);
    const { steps, protocol } = JSON.parse(stdout);
    expect(protocol).toBe('grpc');
    expect(steps).toMatchObject([{ ratePerSecond: 125, sent: steps[0].planned, failed: 0 }]);
    expect(steps[0].planned).toBeGreaterThan(80);
  });

  it('refuses what cannot be meant, all at once', async () => {
    const flags = ['--seconds', '99', '--body-size', '1GiB', '--budget', '1s'];
    const { status, stderr } = await runCommand(['selftest', ...flags]);
    expect(status).toBe(2);
    for (const flag of ['--seconds', '--body-size', '--budget']) expect(stderr).toContain(`${flag}:`);
  });
});
