import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NAMESPACE, parseXml, xml } from "../../src/s3/xml.ts";

const isXmlText = (text: string) => /^[\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]*$/u.test(text);
const text = fc.string({ unit: "binary" }).filter(isXmlText);
const refuses = (document: string | Uint8Array) => {
  expect(() => parseXml(document, "R")).toThrow(expect.objectContaining({ code: "MalformedXML" }));
};

describe("A document that is read", () => {
  test("gives elements, attributes and text, prefixes aside", () => {
    const root = parseXml(
      '<?xml version="1.0"?>\n<!-- c --><n:R xmlns:n="u"><n:A xsi:type="T">1</n:A><A>2</A><B/></n:R>\n<!-- d -->',
      "R",
    );
    expect(root.all("A").map((element) => element.text)).toEqual(["1", "2"]);
    expect(root.all("A")[0]!.attributes.type).toBe("T");
    expect(root.get("B")!.text).toBe("");
    expect(root.get("C")).toBeUndefined();
  });

  test("keeps spaces, and takes nothing for a number", () => {
    expect(parseXml("<R><K>  a </K><N>007</N></R>", "R").textOf("K")).toBe("  a ");
    expect(parseXml("<R><N>007</N></R>", "R").textOf("N")).toBe("007");
  });

  test("decodes XML's own entities and numeric ones, but not in CDATA", () => {
    expect(parseXml("<R>&#34;a&#x22; &lt;&gt;&amp;&quot;&apos;</R>", "R").text).toBe('"a" <>&"\'');
    expect(parseXml("<R>&amp;amp;</R>", "R").text).toBe("&amp;");
    expect(parseXml("<R>x<![CDATA[<a>&amp;]]>y</R>", "R").text).toBe("x<a>&amp;y");
  });

  test("may begin with a byte order mark", () => {
    expect(parseXml(new TextEncoder().encode("\uFEFF<R>x</R>"), "R").text).toBe("x");
  });

  test.each([
    ["nothing", ""],
    ["no element", "text"],
    ["another root", "<S/>"],
    ["a second root", "<R/><R/>"],
    ["a second root of another kind", "<R></R><S></S>"],
    ["text before the root", "x<R/>"],
    ["text behind the root", "<R/>x"],
    ["CDATA behind the root", "<R></R><![CDATA[x]]>"],
    ["an element that isn't closed", "<R><A></R>"],
    ["an end without a beginning", "<R></A></R>"],
    ["a DTD", "<!DOCTYPE R><R/>"],
    ["a DTD with entities", '<!DOCTYPE R [<!ENTITY a "b">]><R>&a;</R>'],
    ["a DTD in the root", "<R><!DOCTYPE R></R>"],
    ["an unknown entity", "<R>&nbsp;</R>"],
    ["an ampersand", "<R>a & b</R>"],
    ["a control character", "<R>\u0001</R>"],
    ["a reference to a control character", "<R>&#1;</R>"],
    ["a reference to half a character", "<R>&#xD800;</R>"],
    ["a reference to no character", "<R>&#x110000;</R>"],
    ["an attribute twice", '<R a="1" a="2"/>'],
    ["a name out of JavaScript", "<R><__proto__>1</__proto__></R>"],
    ["comments without an end, at no great cost", "<!--".repeat(500_000)],
    ["our own envelope", "</zonal-envelope><R/><zonal-envelope>"],
    ["elements without an end", `${"<R>".repeat(100)}${"</R>".repeat(100)}`],
  ])("is MalformedXML with %s", (_, document) => refuses(document));

  test("is MalformedXML if it is no UTF-8", () =>
    refuses(new Uint8Array([0x3c, 0x52, 0x3e, 0xff, 0x3c, 0x2f, 0x52, 0x3e])));

  test("refuses a second child where there may be one, and children of other names", () => {
    const root = parseXml("<R><A/><A/><B/></R>", "R");
    expect(() => root.get("A")).toThrow(expect.objectContaining({ code: "MalformedXML" }));
    expect(() => root.allow("A")).toThrow(expect.objectContaining({ code: "MalformedXML" }));
    expect(root.allow("A", "B")).toBe(root);
  });

  test("never throws anything but MalformedXML", () => {
    const markup = fc
      .array(
        fc.constantFrom(
          "<R>",
          "</R>",
          "<A b='",
          "'>",
          "<!--",
          "-->",
          "<![CDATA[",
          "]]>",
          "&#",
          ";",
          "<?x",
          "?>",
          "/>",
          "t",
          "<!D",
        ),
      )
      .map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(fc.oneof(markup, fc.string({ unit: "binary" })), (document) => {
        try {
          parseXml(document, "R");
        } catch (error) {
          expect(error).toMatchObject({ code: "MalformedXML" });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("A document that is written", () => {
  test("has S3's namespace, elements in order, and leaves out what is undefined", () => {
    const document = xml("R", [["A", 1], ["B", undefined], undefined, ["A", [["C", true]], { "xsi:type": 'a"b' }]]);
    expect(document).toBe(
      `<?xml version="1.0" encoding="UTF-8"?>\n<R xmlns="${NAMESPACE}"><A>1</A><A xsi:type="a&quot;b"><C>true</C></A></R>`,
    );
  });

  test("writes control characters as references, as S3 does", () => {
    expect(xml("R", "a\u0001\r\n<&>", null)).toContain("<R>a&#x1;&#xd;&#xa;&lt;&amp;&gt;</R>");
  });

  test("is read back as it was", () => {
    fc.assert(
      fc.property(text, (text) => {
        expect(parseXml(xml("R", [["A", text]]), "R").textOf("A")).toBe(text);
      }),
    );
  });
});
