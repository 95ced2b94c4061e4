//! The encoding of a text file, as Go's readers of configuration tell it: by a byte order mark.

/// How a text lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    /// UTF-8 behind a byte order mark.
    Utf8Marked,
    /// UTF-16, little endian, behind a byte order mark.
    Utf16Le,
    /// UTF-16, big endian, behind a byte order mark.
    Utf16Be,
}

impl Encoding {
    const ALL: [Self; 4] = [Self::Utf8Marked, Self::Utf16Le, Self::Utf16Be, Self::Utf8];

    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf8 => b"",
            Self::Utf8Marked => b"\xef\xbb\xbf",
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
        }
    }

    /// The text of a file, without its byte order mark. The error says in which encoding it is not.
    pub fn decode(bytes: &[u8]) -> Result<(String, Self), &'static str> {
        let marked = |encoding: Self| Some((bytes.strip_prefix(encoding.mark())?, encoding));
        let (rest, encoding) =
            Self::ALL.into_iter().find_map(marked).unwrap_or((bytes, Self::Utf8));
        let text = match encoding {
            Self::Utf8 | Self::Utf8Marked => std::str::from_utf8(rest).ok().map(str::to_owned),
            Self::Utf16Le => utf16(rest, u16::from_le_bytes),
            Self::Utf16Be => utf16(rest, u16::from_be_bytes),
        };
        let fault = match encoding {
            Self::Utf8 | Self::Utf8Marked => "it is not UTF-8",
            Self::Utf16Le | Self::Utf16Be => "it is not UTF-16, as its byte order mark says",
        };
        text.map(|text| (text, encoding)).ok_or(fault)
    }

    /// The bytes of a file with this text, with the byte order mark.
    pub fn encode(self, text: &str) -> Vec<u8> {
        let mut bytes = self.mark().to_vec();
        match self {
            Self::Utf8 | Self::Utf8Marked => bytes.extend(text.bytes()),
            Self::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        }
        bytes
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, rest) = bytes.as_chunks();
    let units: Vec<u16> = units.iter().copied().map(unit).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_in_each_encoding() {
        for encoding in Encoding::ALL {
            let bytes = encoding.encode("{\"ä\": \"𝄞\"}\n");
            assert_eq!(Encoding::decode(&bytes), Ok(("{\"ä\": \"𝄞\"}\n".to_owned(), encoding)));
        }
        assert_eq!(Encoding::decode(b""), Ok((String::new(), Encoding::Utf8)));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(Encoding::decode(b"a\xff"), Err("it is not UTF-8"));
        for bad in [b"\xff\xfea".as_slice(), b"\xff\xfe\x00\xd8", b"\xfe\xff\xd8\x00"] {
            assert!(Encoding::decode(bad).unwrap_err().contains("UTF-16"), "{bad:?}");
        }
    }
}
