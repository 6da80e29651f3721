// Prints the JSON Schema of the document of `reprise profile --json`.
import { profileJsonSchema } from '../src/cli/profile-schema.ts';

process.stdout.write(`${JSON.stringify(profileJsonSchema(), null, 2)}\n`);
