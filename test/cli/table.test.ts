import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { alignColumns, displayWidth, embed, printable, renderTable } from "../../src/cli/table.ts";

const role = {
  rows: [
    ["ID", "6f00a21e-a535-4286-86c5-e81eeab3b4ff"],
    ["Name", "replication-my-source-my-destination"],
    ["Description", "sos bucket replication between my-source and my-destination"],
    ["Editable", "true"],
    ["Labels", "n/a"],
    ["Permissions", "n/a"],
  ],
};

describe("Tables", () => {
  test("a role in a box", () => {
    expect(renderTable(role, "box")).toBe(`\
┼─────────────┼─────────────────────────────────────────────────────────────┼
│ ID          │ 6f00a21e-a535-4286-86c5-e81eeab3b4ff                        │
│ Name        │ replication-my-source-my-destination                        │
│ Description │ sos bucket replication between my-source and my-destination │
│ Editable    │ true                                                        │
│ Labels      │ n/a                                                         │
│ Permissions │ n/a                                                         │
┼─────────────┼─────────────────────────────────────────────────────────────┼
`);
  });

  test("a role as Markdown has no line around it", () => {
    const lines = renderTable(role, "markdown").split("\n");
    expect(lines[0]).toBe("| ID          | 6f00a21e-a535-4286-86c5-e81eeab3b4ff                        |");
    expect(lines).toHaveLength(7);
  });

  test("a bucket with its ACL in a box", () => {
    const acl = embed([
      ["Read", "-"],
      ["Write", "-"],
      ["Read ACP", "-"],
      ["Write ACP", "-"],
      ["Full Control", "alice@example.net"],
    ]);
    const rows = [
      ["Name", "my-bucket"],
      ["Zone", "ch-dk-2"],
      ["ACL", acl],
      ["CORS", ""],
      ["Object Ownership", "BucketOwnerEnforced"],
    ];
    expect(renderTable({ header: ["Storage"], rows }, "box")).toBe(`\
┼──────────────────┼──────────────────────────────────────┼
│     STORAGE      │                                      │
┼──────────────────┼──────────────────────────────────────┼
│ Name             │ my-bucket                            │
│ Zone             │ ch-dk-2                              │
│ ACL              │                                      │
│                  │   Read           -                   │
│                  │   Write          -                   │
│                  │   Read ACP       -                   │
│                  │   Write ACP      -                   │
│                  │   Full Control   alice@example.net   │
│                  │                                      │
│ CORS             │                                      │
│ Object Ownership │ BucketOwnerEnforced                  │
┼──────────────────┼──────────────────────────────────────┼
`);
  });

  test("a header as Markdown stands above its rule", () => {
    expect(renderTable({ header: ["Name", "Key"], rows: [["a", "EXO1"]] }, "markdown")).toBe(`\
| NAME | KEY  |
|------|------|
| a    | EXO1 |
`);
  });

  test("numbers in an embedded table stand to the right", () => {
    expect(
      embed([
        ["Status", "Enabled"],
        ["Priority", "1"],
      ]),
    ).toBe("\n  Status     Enabled  \n  Priority         1  \n");
  });

  test("no rows and no header are nothing", () => {
    expect(renderTable({ rows: [] }, "box")).toBe("");
    expect(embed([])).toBe("");
    expect(alignColumns([])).toBe("");
  });

  test("a listing's columns are as wide as their widest cell and a space", () => {
    const rows = [
      [" ", "DIR ", "deep/"],
      ["2025-01-02 03:04:05 UTC", " 100 B ", "hello.txt"],
    ];
    expect(alignColumns(rows)).toBe(
      "                        DIR     deep/\n2025-01-02 03:04:05 UTC  100 B  hello.txt\n",
    );
    expect(alignColumns([[" ", "DIR ", "p/"]])).toBe("  DIR  p/\n");
  });

  test("all lines of a table are equally wide, whatever its cells hold", () => {
    const cell = fc
      .oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.constant("日本語"), fc.constant("a\nbc\n"))
      .map((text) => text.split("\n").map(printable).join("\n"));
    const rows = fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        rows,
        fc.option(fc.array(fc.constant("Header"), { minLength: 1, maxLength: 4 }), { nil: undefined }),
        (cells, header) => {
          const lines = renderTable({ header, rows: cells }, "box").trimEnd().split("\n");
          expect(new Set(lines.map(displayWidth)).size).toBe(1);
        },
      ),
    );
  });

  test("a control character in a key doesn't reach the terminal", () => {
    expect(printable("a\x1b[2Jb\nc\x7f\x9b")).toBe("a\\x1b[2Jb\\x0ac\\x7f\\x9b");
    expect(printable("ü 日本語 …")).toBe("ü 日本語 …");
  });
});
