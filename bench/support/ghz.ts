import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goProgram } from '../../test/support/peer-tools.ts';
import { PADDING, UNARY } from './grpc-plan.ts';
import { type FoundTool, startTool, watched } from './load-tools.ts';

const GHZ = 'github.com/bojand/ghz/cmd/ghz@v0.121.0';
/** Enough for answers that come at once. */
const WORKERS = 50;

/** ghz at a fixed rate, on one connection, with messages of the same size and form as ours. */
export function ghz(): FoundTool {
  const found = goProgram(GHZ, 'ghz');
  if ('missing' in found) return { name: 'ghz', missing: found.missing };
  return {
    name: 'ghz',
    startIs: 'fitted',
    play: async (target, job) => {
      const [service = '', method = ''] = UNARY.slice(1).split('/');
      const [scope = '', name = ''] = service.split('.');
      const proto = join(job.directory, 'call.proto');
      writeFileSync(
        proto,
        `syntax = "proto3";\npackage ${scope};\nmessage Text { string text = 1; }\n` +
          `service ${name} { rpc ${method}(Text) returns (Text); }\n`,
      );
      // Less the prefix of the message, the tag and length of its field, and the index.
      const padding = PADDING.repeat(job.body.length - 5 - 3 - 9);
      const data = join(job.directory, 'call.json');
      writeFileSync(data, JSON.stringify({ text: `#{{printf \`%07d\` .RequestNumber}}#${padding}` }));
      const rate = ['--rps', String(job.ratePerSecond), '-n', String(job.plan.length)];
      const call = ['--insecure', '--proto', proto, '--call', `${service}.${method}`, '--data-file', data];
      const load = [...rate, '--concurrency', String(WORKERS), '--connections', '1', '--format', 'json'];
      const tool = startTool(found.path, [...call, ...load, `127.0.0.1:${target.port}`]);
      const { run } = await watched(tool, target, job);
      return { ...run('fitted'), document: null, startNs: null };
    },
  };
}
