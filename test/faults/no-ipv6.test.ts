import { describe, expect, it } from 'vitest';
import { canTrace } from '../support/host-abilities.ts';
import { runProcess } from '../support/process.ts';

/** A kernel without IPv6, as far as one process can tell: the first socket it asks for is such a one. */
const REFUSED = ['-f', '-qq', '-e', 'trace=socket', '-e', 'inject=socket:error=EAFNOSUPPORT:when=1'];

async function underIpv4Alone(script: string): Promise<string> {
  const node = [process.execPath, '--input-type=module', '-e', script];
  const { stdout, stderr } = await runProcess('strace', [...REFUSED, '-o', '/dev/null', ...node]);
  expect(stderr).toBe('');
  return stdout.trim();
}

const module = (name: string) => JSON.stringify(new URL(`../../src/proxy/${name}.ts`, import.meta.url).href);

describe.skipIf(!canTrace)('a host without IPv6 (no strace, or it may not attach)', () => {
  it('is listened on at all its addresses', async () => {
    const bound = await underIpv4Alone(`
      import { createServer } from 'node:net';
      import { listenOn } from ${module('net/listen')};
      const server = createServer();
      const { endpoint } = await listenOn(server, { kind: 'tcp', host: '::', port: 0, tls: false });
      console.log(endpoint.host);
      server.close();`);
    expect(bound).toBe('0.0.0.0');
  });

  it('has its probes answered', async () => {
    const bound = await underIpv4Alone(`
      import { ProbeServer } from ${module('control/admin-server')};
      const logger = { info() {}, warn() {}, error(fields) { console.log(fields.reason); } };
      const probes = new ProbeServer({ statusOf: () => null, logger });
      const address = await probes.listen({ host: '::', port: 0 });
      console.log(address?.host);
      probes.close();`);
    expect(bound).toBe('0.0.0.0');
  });
});
