// Verifies a webhook from stdin, {header, body}, with the library of its inventors.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { header, body } = JSON.parse(readFileSync(0, "utf8"));
try {
  const got = new Webhook(process.argv[2]).verify(body, header);
  console.log(got.type, got.data.text);
} catch (err) {
  console.log("refused:", err.message);
}
