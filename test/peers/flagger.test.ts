import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { freePort } from '../support/free-port.ts';
import { needing } from '../support/peer-run.ts';
import { goProgram } from '../support/peer-tools.ts';
import { RunningProcess, startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const loadtester = goProgram('github.com/fluxcd/flagger/cmd/loadtester@v1.36.1', 'loadtester');

describe('Flagger’s load tester', () => {
  needing(loadtester, 'is told the verdict of the gate, and its reasons', async (program) => {
    const server = await serverOf((_, response) => void setTimeout(() => response.end('{}'), 100));
    const folder = temporaryDirectory();
    const scenario = join(folder, 'slow.yaml');
    writeFileSync(
      scenario,
      `capture: ${captureOf(requestsOf(100))}\ntarget: ${server.url}\nslo: 'latency: p(50)<20'\nout: ${join(folder, 'run')}\n`,
    );
    const gate = startReprise([
      ...['--log-format', 'json', 'gate', '--serve', '127.0.0.1:0', '--scenario', `slow=${scenario}`],
    ]);
    const [, address] = await gate.waitFor('stderr', /"address":"([^"]+)"/);
    const port = await freePort();
    const tester = new RunningProcess(program, ['-port', String(port), '-timeout', '1m']);
    await tester.waitFor('stderr', /Starting load tester|Listening|listen/i);
    const payload = { name: 'model', namespace: 'prod', phase: 'Progressing', checksum: '85d557f47b' };
    /** As Flagger posts a hook of type bash, which the load tester runs to its end. */
    const asked = async (path: string) => {
      const cmd = `curl -sS --fail-with-body -H 'content-type: application/json' -d '${JSON.stringify(payload)}' 'http://${address}${path}'`;
      const response = await fetch(`http://127.0.0.1:${port}/`, {
        method: 'POST',
        body: JSON.stringify({ ...payload, metadata: { type: 'bash', cmd } }),
      });
      return { ok: response.ok, body: await response.text() };
    };
    const promotion = await asked('/flagger/slow?wait=50s');
    expect(promotion.ok).toBe(false);
    expect(promotion.body).toContain('slow: FAIL');
    expect(promotion.body).toContain('slo_violated: latency: p(50)<20');
    expect((await asked('/flagger/slow/rollback')).ok).toBe(true);
    expect(server.requests).toHaveLength(100);
    await tester.kill('SIGTERM');
  });
});
