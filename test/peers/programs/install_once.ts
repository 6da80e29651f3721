import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '../../support/peer-tools.ts';

/** Asks for a tool, as a worker of a suite does. The one that makes it writes a line, and waits until both have asked. */
const [folder = '', name = '', other = ''] = process.argv.slice(2);
const home = join(folder, 'cache', 'tool');
writeFileSync(join(folder, name), '');
const tool = installed(home, join(home, 'program'), () => {
  appendFileSync(join(folder, 'made'), `${name}\n`);
  const make = `until [ -e ${join(folder, other)} ]; do sleep 0.05; done; sleep 1; echo whole > ${home}/program`;
  return [['sh', ['-c', make]]];
});
process.stdout.write(JSON.stringify(tool));
