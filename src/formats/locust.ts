import type { ExportFormat, ExportSettings } from './export-writer.ts';
import { programWith, ScriptWriter } from './script-writer.ts';

const LOCUST_FILE = 'locustfile.py';

/** A Locust file that replays a schedule in an open loop, in one process or as a master with workers. */
export const LOCUST: ExportFormat = {
  name: 'locust',
  summary: 'a Locust file and its data, for one process or a master with workers',
  shape: 'directory',
  holds: 'requests',
  takes: ['target'],
  needsTarget: false,
  correlates: true,
  cannotCarry: [
    'the order, the case and the repetition of header names',
    'the chunked transfer coding: bodies go with their length',
    'the connections requests came on',
    'values of answers before an answer is complete, and those in compressed requests',
    'what the client adds: User-Agent and Accept-Encoding where the request has none',
    'responses: Locust counts every 4xx and 5xx as a failure, even if it was recorded',
  ],
  open: (directory, settings) => new LocustWriter(directory, settings),
};

class LocustWriter extends ScriptWriter {
  readonly usage: readonly string[];

  constructor(directory: string, { origin }: ExportSettings) {
    super(directory, LOCUST_FILE);
    // An ASCII JSON string is also a Python string.
    const host = origin === null ? 'None' : JSON.stringify(origin);
    this.program.write(programWith(LOCUST_FILE, /^HOST = None$/m, `HOST = ${host}`));
    const command = `locust -f ${LOCUST_FILE} --headless${origin === null ? ' --host URL' : ''}`;
    this.usage = [
      command,
      `${command} --master --expect-workers N; on each machine: locust -f ${LOCUST_FILE} --worker --master-host HOST`,
    ];
  }
}
