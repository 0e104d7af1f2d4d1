//! Generates the messages of the page-store service from their description. `protox` compiles
//! it, so that no `protoc` need be on the machine.

#[cfg(not(feature = "grpc"))]
fn main() {}

#[cfg(feature = "grpc")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_file("verso/v1/pagestore.proto")?;
    let folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // What the reflection service tells.
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(folder.join("pagestore.bin"), descriptors)?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
