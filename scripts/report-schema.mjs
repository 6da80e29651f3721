// Prints the JSON Schema of the document of `reprise report --json`.
import { reportJsonSchema } from '../src/cli/report-schema.ts';

process.stdout.write(`${JSON.stringify(reportJsonSchema(), null, 2)}\n`);
